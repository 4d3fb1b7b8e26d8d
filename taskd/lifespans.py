"""Enter and leave the lifespans of plugins, each within a time limit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import attrs
from starlette.types import Message, Send

from taskd.plugins import Plugin, PluginError
from taskd.plugins.loader import one_line
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
    """

    _lifespans: Sequence[tuple[Plugin, Lifespan]]
    _timeouts: Timeouts
    _entered: list[tuple[Plugin, Lifespan]] = attrs.field(init=False, factory=list)
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
            except PluginError as failure:
                self._failure = failure
                await self._leave_all(failure)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave all lifespans.  Failures and time-outs are logged, not raised."""
        await self._leave_all(error)

    def reporting(self, send: Send) -> Send:
        """Return a *send* for the application's lifespan that reports failures in one line, without a traceback."""

        async def report(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and self._failure is not None:
                message = {**message, "message": f"taskd: {self._failure}"}
            await send(message)

        return report

    async def _enter(self, plugin: Plugin, lifespan: Lifespan) -> None:
        try:
            await TimeLimit(self._timeouts.enter_s).wait(lifespan.__aenter__())
        except TimedOut:
            message = f"{plugin} was not ready after {self._timeouts.enter_s:g} s"
            raise PluginError(message, plugin=plugin.name) from None
        except (Exception, SystemExit) as error:
            raise PluginError(f"{plugin} failed to start: {one_line(error)}", plugin=plugin.name) from error
        self._entered.append((plugin, lifespan))

    async def _leave_all(self, error: BaseException | None) -> None:
        while self._entered:
            await self._leave(*self._entered.pop(), error)

    async def _leave(self, plugin: Plugin, lifespan: Lifespan, error: BaseException | None) -> None:
        kind = None if error is None else type(error)
        traceback = None if error is None else error.__traceback__
        try:
            await TimeLimit(self._timeouts.close_s).wait(lifespan.__aexit__(kind, error, traceback))
        except TimedOut:
            logger.warning("%s did not stop in %g s and was abandoned", plugin, self._timeouts.close_s)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:
            # Most context managers pass on the exception with which they were left.
            if failure is not error:
                logger.exception("%s failed to stop", plugin)
