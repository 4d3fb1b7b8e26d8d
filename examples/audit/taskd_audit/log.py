"""Write lines in a thread of its own, so that neither requests nor the event loop wait for a disk."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sys
from io import TextIOWrapper
from logging.handlers import QueueListener, WatchedFileHandler
from pathlib import Path

from taskd.storage import StoreUnavailable

__all__ = ["AuditLog"]

logger = logging.getLogger("taskd.audit")
# Whatever the server's own level is: an audit log without its lines is none.
logger.setLevel(logging.INFO)


class AuditLog:
    """
    Appends lines to *file*, or passes them to the logger `taskd.audit` if there is none.

    Args:
        file: Where to write.
        limit: How many lines may wait to be written.
    """

    def __init__(self, file: Path | None, limit: int = 10_000) -> None:
        self._limit = limit
        self._lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = _ToLogger() if file is None else _ToFile(file)
        self._listener = QueueListener(self._lines, self._handler)
        self._is_running = False

    def check(self) -> None:
        """Raise `StoreUnavailable` if too many lines are waiting: what cannot be logged must not be done."""
        waiting = self._lines.qsize()
        if waiting >= self._limit:
            raise StoreUnavailable(f"the audit log has fallen behind: {waiting} lines are waiting to be written")

    def write(self, line: str) -> None:
        """Add a line, which is written soon."""
        if not self._is_running:
            self._is_running = True
            self._listener.start()
        self._lines.put(logging.makeLogRecord({"name": logger.name, "levelno": logging.INFO, "msg": line}))

    async def open(self) -> None:
        """Raise `OSError` if the file cannot be written."""
        await asyncio.to_thread(self._handler.open)

    async def close(self) -> None:
        """Write all lines that are waiting."""
        if self._is_running:
            self._is_running = False
            await asyncio.to_thread(self._listener.stop)
        self._handler.close()


class _ToLogger(logging.Handler):
    """Passes lines to the logger, whose own handlers may block, too."""

    def open(self) -> None:
        """Do nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.info("%s", record.getMessage())


class _ToFile(WatchedFileHandler):
    """
    Appends lines to a file, which may be renamed at any time, as logrotate does.

    Each line is written at once, so that several processes can share the file.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", delay=True)

    def open(self) -> None:
        """Raise `OSError` if the file cannot be written.  Called before anything is written."""
        self.stream = self._open()

    def _open(self) -> TextIOWrapper:
        # Others must not read it.
        return open(self.baseFilename, "a", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o640))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass the line to the server's log instead, and open the file anew for the next one."""
        reason = sys.exc_info()[1]
        with contextlib.suppress(OSError):
            if self.stream is not None:
                self.stream.close()
        # `FileHandler` then opens it again.
        self.stream = None
        logger.error("The audit log cannot be written (%s): %s", type(reason).__name__, record.getMessage())
