"""Close what plugins have created when the application stops, within a time limit."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

from taskd.time_limit import TimedOut, TimeLimit

__all__ = ["bounded", "close", "close_in_time"]

logger = logging.getLogger(__name__)


async def bounded(call: Callable[[], Any], timeout_s: float) -> Any:
    """
    Return the result of *call*, awaiting it if necessary.

    A function that is not `async` runs in its own thread, so that it cannot block the event loop.  A call that takes
    too long is cancelled; if that has no effect, it is abandoned.

    Raises:
        TimedOut: The call did not end within *timeout_s* seconds.
    """
    try:
        return await TimeLimit(timeout_s).wait(_result(call))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # The call awaited something that it had cancelled itself.  The caller must not mistake that for its own
        # cancellation.
        raise RuntimeError("it raised a CancelledError of its own") from error


async def close_in_time(part: object, timeout_s: float) -> None:
    """
    Call the `close` method of *part*, if it has one.

    Raises:
        TimedOut: The method did not end within *timeout_s* seconds.
        BaseException: Any error that the method raised.
    """
    close = getattr(part, "close", None)
    if close is not None:
        await bounded(close, timeout_s)


async def close(name: str, part: object, timeout_s: float) -> None:
    """
    Call the `close` method of *part*, if it has one, and log *name* if it fails or takes too long.

    No error is raised: a plugin must not keep the server from stopping.
    """
    try:
        await close_in_time(part, timeout_s)
    except TimedOut:
        logger.warning("%s did not close in %g s and was abandoned", name, timeout_s)
    except (Exception, SystemExit):
        logger.exception("%s failed to close", name)


async def _result(call: Callable[[], Any]) -> Any:
    result = call() if inspect.iscoroutinefunction(call) else await _in_thread(call)
    return await result if inspect.isawaitable(result) else result


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Run *call* in a thread that neither the event loop nor the interpreter waits for; return its result."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def set_outcome(result: Any, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  raised in the awaiting task
            failure = error
        try:
            loop.call_soon_threadsafe(set_outcome, result, failure)
        except RuntimeError:
            # The loop is already closed.
            logger.debug("An abandoned call has ended")

    threading.Thread(target=run, name="taskd: a call of a plugin", daemon=True).start()
    result, failure = await ended
    if failure is not None:
        raise failure
    return result
