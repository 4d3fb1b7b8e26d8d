"""Write log lines for people, or as JSON for machines, each with the id of the request that is being served."""

from __future__ import annotations

import datetime as dt
import enum
import logging
import time
from contextvars import ContextVar
from typing import Any

import attrs
import msgspec

from taskd.telemetry import LOG_CONTEXT

__all__ = ["FIELDS", "REQUEST_ID", "LogFormat", "Logging", "RateLimitedLog"]

# The id of the request that this task serves.  Each request has a task of its own.
REQUEST_ID: ContextVar[bytes] = ContextVar("REQUEST_ID", default=b"")
# The attribute of a record that has further values for machines, by name.
FIELDS = "taskd_fields"


class LogFormat(enum.Enum):
    """For whom log lines are written."""

    PLAIN = "plain"
    JSON = "json"


@attrs.frozen
class Logging:
    """
    How a server logs.

    Attributes:
        format: For whom lines are written.
        level: The lowest level that is logged by taskd and its plugins.  Of other packages, only warnings are logged.
        packages: The packages of the plugins.
    """

    format: LogFormat = LogFormat.PLAIN
    level: str = "INFO"
    packages: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Return the configuration of all loggers, for `logging.config.dictConfig`."""
        others = "ERROR" if self.level == "ERROR" else "WARNING"
        formatter = {LogFormat.PLAIN: PlainFormatter, LogFormat.JSON: JSONFormatter}[self.format]
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"default": {"()": formatter}},
            "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "default"}},
            "root": {"handlers": ["default"], "level": others},
            "loggers": {name: {"level": self.level} for name in ("taskd", "uvicorn", *self.packages)},
        }


class PlainFormatter(logging.Formatter):
    """Begins a line with the time, in UTC, and its level, and ends it with the id of the request."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is logging's
        """Return the line, without what follows it, such as a traceback."""
        request_id = REQUEST_ID.get().decode("latin-1")
        ending = f"  [request {request_id}]" if request_id and not hasattr(record, FIELDS) else ""
        return f"{record.asctime} {record.levelname + ':':9} {record.message}{ending}"


class JSONFormatter(logging.Formatter):
    """Writes one JSON object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.timezone.utc),
            "level": record.levelname,
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id.decode("latin-1")
        line |= LOG_CONTEXT.get()
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _encodable(text: str) -> str:
    """Return *text* with escapes for lone surrogates, which UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()


@attrs.define
class RateLimitedLog:
    """
    Limits the rate of log lines that clients can cause.

    It logs at most one line in *interval_s* seconds, and adds how many lines were left out since the last one.

    Attributes:
        logger: Where to log.
        interval_s: The shortest time between two lines, in seconds.
    """

    logger: logging.Logger
    interval_s: float = 60.0
    _next_s: float = attrs.field(init=False, default=float("-inf"))
    _left_out: int = attrs.field(init=False, default=0)

    def info(self, message: str, *arguments: object) -> None:
        """Log *message* with *arguments*, unless the last line was logged too recently."""
        self._log(logging.INFO, message, arguments)

    def warning(self, message: str, *arguments: object) -> None:
        """Log *message* with *arguments* as a warning, unless the last line was logged too recently."""
        self._log(logging.WARNING, message, arguments)

    def _log(self, level: int, message: str, arguments: tuple[object, ...]) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._next_s, self._left_out = now_s + self.interval_s, 0
        self.logger.log(level, f"{message}%s", *arguments, more)
