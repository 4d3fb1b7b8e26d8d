"""Gather all numbers: those that taskd and its plugins publish, those about requests, and those about the process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import attrs

from taskd.outages import OutageLog
from taskd.telemetry import Measurement
from taskd_metrics.merging import merged
from taskd_metrics.process import process_measurements
from taskd_metrics.requests import RequestCounts
from taskd_metrics.sharing import NAME, Sharing, folder_of_siblings

__all__ = ["Numbers"]

PREFIX = "taskd_"
# How often the numbers of this process are written for others to read.
INTERVAL_S = 1.0

logger = logging.getLogger(f"taskd.{__name__}")


def _nothing() -> Iterable[Measurement]:
    return ()


@attrs.define(eq=False)
class Numbers:
    """
    The numbers of this process, and of those that serve together with it.

    Attributes:
        published: Returns the numbers that taskd and its plugins publish.
        requests: Counts requests.
    """

    published: Callable[[], Iterable[Measurement]] = _nothing
    requests: RequestCounts = attrs.field(init=False, factory=RequestCounts)
    _sharing: Sharing | None = attrs.field(init=False, default=None)
    _outages: OutageLog = attrs.field(init=False)

    @_outages.default
    def _none_yet(self) -> OutageLog:
        return OutageLog("The folder of the metrics", logger)

    def here(self) -> list[Measurement]:
        """Return the numbers of this process.  This must be called in the event loop."""
        ours = (*self.requests.measurements(), *self.published())
        named = [attrs.evolve(each, name=f"{PREFIX}{each.name}") for each in ours]
        return [*named, *process_measurements()]

    async def everywhere(self) -> list[Measurement]:
        """Return the numbers of all processes that serve together."""
        here = self.here()
        # Two parts may publish the same number, such as two auth backends of one kind.
        return merged(here) if self._sharing is None else await asyncio.to_thread(self._sharing.everything, here)

    @contextlib.asynccontextmanager
    async def shared(self, folder: Path | None) -> AsyncIterator[None]:
        """Share the numbers in *folder*, or with other children of this process's parent, during the block."""
        own = folder_of_siblings() if folder is None else folder / NAME
        if own is None:
            yield
            return
        sharing = Sharing(own)
        await asyncio.to_thread(sharing.join)
        await asyncio.to_thread(sharing.write, self.here())
        self._sharing = sharing
        writing = asyncio.create_task(self._write_on(sharing), name="taskd: share metrics")
        try:
            yield
        finally:
            writing.cancel()
            self._sharing = None
            await asyncio.wait([writing])
            await asyncio.to_thread(sharing.leave, self.here())

    async def _write_on(self, sharing: Sharing) -> None:
        """Write the numbers again and again, until this task is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            started_s = time.monotonic()
            try:
                await asyncio.to_thread(sharing.write, self.here())
            except OSError as error:
                self._outages.failed(error.strerror or type(error).__name__)
            else:
                self._outages.succeeded(started_s)
