"""Enter and leave the lifespans of plugins, each within a time limit."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import attrs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskd.plugins import Plugin, PluginError
from taskd.plugins.loader import one_line, reporting_slowness
from taskd.time_limit import TimedOut, TimeLimit, Timeouts

__all__ = ["Lifespans"]

logger = logging.getLogger(__name__)

Lifespan = AbstractAsyncContextManager[object]


@attrs.define(eq=False)
class Lifespans:
    """
    An async context manager that enters the lifespans of plugins in order, and leaves them in reverse order.

    Each is entered and left in the same task, which task groups require.

    Args:
        lifespans: The lifespans, each with its plugin.
        timeouts: How long entering and leaving each of them may take.
        stop: Stops the server.
    """

    _lifespans: Sequence[tuple[Plugin, Lifespan]]
    _timeouts: Timeouts
    _entered: list[tuple[Plugin, Lifespan]] = attrs.field(init=False, factory=list)
    stop: Callable[[], None] = attrs.field(kw_only=True, default=lambda: os.kill(os.getpid(), signal.SIGTERM))
    _failure: PluginError | None = attrs.field(init=False, default=None)

    async def __aenter__(self) -> None:
        """
        Enter all lifespans.

        Raises:
            PluginError: One of them could not be entered.  Those entered before it have been left again.
        """
        for plugin, lifespan in self._lifespans:
            try:
                await self._enter(plugin, lifespan)
            except BaseException as failure:
                self._failure = failure if isinstance(failure, PluginError) else None
                await self._leave_all(failure)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave all lifespans.  Failures and time-outs are logged, not raised."""
        await self._leave_all(error)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Run the lifespan of *app*, which enters and leaves these.

        A failure to start is reported in one line.  If a lifespan fails while the server is running, as a task group
        does when one of its tasks fails, the server is stopped: it would serve without what it needs.
        """
        is_running = False

        async def watch_receive() -> Message:
            nonlocal is_running
            message = await receive()
            is_running = is_running and message["type"] != "lifespan.shutdown"
            return message

        async def watch_send(message: Message) -> None:
            nonlocal is_running
            is_running = is_running or message["type"] == "lifespan.startup.complete"
            if message["type"] == "lifespan.startup.failed" and self._failure is not None:
                message = {**message, "message": f"taskd: {self._failure}"}
            await send(message)

        try:
            await app(scope, watch_receive, watch_send)
        finally:
            task = asyncio.current_task()
            # A server that is ending may cancel the task.
            if is_running and task is not None and not task.cancelling():
                logger.critical("What a plugin runs beside the requests has ended, so the server stops")
                self.stop()

    async def _enter(self, plugin: Plugin, lifespan: Lifespan) -> None:
        try:
            # A lifespan that blocks the event loop is not interrupted.
            with reporting_slowness(f"{plugin} has been starting", self._timeouts.start_s):
                await TimeLimit(self._timeouts.enter_s).wait(lifespan.__aenter__())
        except TimedOut:
            message = f"{plugin} was not ready after {self._timeouts.enter_s:g} s"
            raise PluginError(message, plugin=plugin.name) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or _is_being_cancelled(error):
                raise
            raise PluginError(f"{plugin} failed to start: {one_line(error)}", plugin=plugin.name) from error
        self._entered.append((plugin, lifespan))

    async def _leave_all(self, error: BaseException | None) -> None:
        cancellation: asyncio.CancelledError | None = None
        while self._entered:
            try:
                await self._leave(*self._entered.pop(), error)
            except asyncio.CancelledError as late:
                cancellation = late
        if cancellation is not None and cancellation is not error:
            raise cancellation

    async def _leave(self, plugin: Plugin, lifespan: Lifespan, error: BaseException | None) -> None:
        kind = None if error is None else type(error)
        traceback = None if error is None else error.__traceback__
        try:
            await TimeLimit(self._timeouts.close_s).wait(lifespan.__aexit__(kind, error, traceback))
        except TimedOut:
            logger.warning("%s did not stop in %g s and was abandoned", plugin, self._timeouts.close_s)
        except BaseException as failure:
            if _is_being_cancelled(failure):
                raise
            # Most context managers pass on the exception with which they were left.
            if failure is not error:
                logger.exception("%s failed to stop", plugin)


def _is_being_cancelled(error: BaseException) -> bool:
    """Tell whether *error* is the cancellation of the current task, and not one that a plugin has raised itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
