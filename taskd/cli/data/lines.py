"""
The format of an export: a JSON object on each line, whose `kind` says what it is.

The first line is an `export`, with the version of the format.  For each user there is a line `user`, then a `task` for
each task and a `key` for each idempotency key, and an `end` that counts them.  The last line is `done`, so that a file
that is incomplete is noticed.
"""

from __future__ import annotations

import datetime as dt
import re
import typing
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from taskd.auth import IDENTITY, is_identity
from taskd.data import Owner, Record, RememberedKey
from taskd.fields import FieldType, MustBe, in_utc
from taskd.storage import CreationKey
from taskd.tasks import Description, DueAt, Priority, Status, Tags, Task, Title

__all__ = [
    "FORMAT",
    "MAX_LINE_BYTES",
    "AnyLine",
    "DoneLine",
    "EndLine",
    "ExportLine",
    "KeyLine",
    "Line",
    "LineError",
    "TaskLine",
    "UserLine",
    "encode",
    "line_of",
    "read_line",
]

FORMAT = 1
# Of a task, with each character escaped in JSON.
MAX_LINE_BYTES = 256 * 1024

# The numbers that JavaScript has.  Every write raises a user's `seq`, so it must stay far below what a store can hold.
_MAX_NUMBER = 2**53 - 1
Count = Annotated[int, Meta(ge=0, le=_MAX_NUMBER), MustBe(f"a whole number from 0 to {_MAX_NUMBER}")]
Moment = Annotated[dt.datetime, Meta(tz=True), MustBe("an RFC 3339 date-time with an offset")]
ID = Annotated[UUID, MustBe("a UUID")]
Key = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z"), MustBe("a text of 1 to 255 visible ASCII characters")]
UserID = Annotated[str, Meta(min_length=1, max_length=255), MustBe(IDENTITY)]


class LineError(ValueError):
    """A line is wrong.  The message says why, without quoting it."""


class Line(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True):
    """A line of an export."""


class ExportLine(Line, tag="export"):
    """The first line."""

    format: Count


class UserLine(Line, tag="user"):
    """The first line of a user."""

    id: UserID
    seq: Count

    def owner(self) -> Owner:
        """Return what the line says."""
        return Owner(id=self.id, seq=self.seq)


class TaskLine(Line, tag="task"):
    """A task of the user whose line came last."""

    id: ID
    title: Title
    description: Description | None
    status: Status
    priority: Priority
    due_at: DueAt | None
    tags: Tags
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None
    version: Count

    def task(self, owner: str) -> Task:
        """Return the task."""
        return Task.stored(
            (
                self.id,
                owner,
                self.title,
                self.description,
                self.status,
                self.priority,
                in_utc(self.due_at),
                self.tags,
                in_utc(self.created_at),
                in_utc(self.updated_at),
                in_utc(self.completed_at),
                self.version,
            )
        )


class KeyLine(Line, tag="key"):
    """An idempotency key of the user whose line came last; `fingerprint` is in base64."""

    key: Key
    fingerprint: Annotated[bytes, Meta(max_length=255), MustBe("up to 255 bytes in base64")]
    task_id: ID
    created_at: Moment

    def remembered(self) -> RememberedKey:
        """Return the key."""
        key = CreationKey(self.key, self.fingerprint)
        return RememberedKey(key=key, task_id=self.task_id, created_at=in_utc(self.created_at))


class EndLine(Line, tag="end"):
    """The last line of a user: how many tasks and keys there are."""

    tasks: Count
    keys: Count


class DoneLine(Line, tag="done"):
    """The last line: how many users there are."""

    users: Count


AnyLine: TypeAlias = ExportLine | UserLine | TaskLine | KeyLine | EndLine | DoneLine

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
_KINDS: dict[Any, type[Line]] = {each.__struct_config__.tag: each for each in typing.get_args(AnyLine)}


def encode(line: Line) -> bytes:
    """Return *line* as it is written, with its end."""
    return _encoder.encode(line) + b"\n"


def line_of(record: Record) -> Line:
    """Return the line for *record*."""
    match record:
        case Task():
            fields = (getattr(record, name) for name in TaskLine.__struct_fields__)
            return TaskLine(*fields)
        case Owner():
            return UserLine(record.id, record.seq)
        case RememberedKey(key=key):
            return KeyLine(key.key, key.fingerprint, record.task_id, record.created_at)


def read_line(text: bytes) -> AnyLine:
    """
    Read a line.

    Raises:
        LineError: It is not a line of an export, or one of its fields breaks a rule.
    """
    try:
        line = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise LineError(_what_is_wrong(text)) from None
    _check(line)
    return line


def _what_is_wrong(text: bytes) -> str:
    """Return why *text* cannot be read.  msgspec's own messages may quote it."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "is not valid JSON in UTF-8"
    if not isinstance(value, dict):
        return "is not a JSON object"
    kind = _KINDS.get(str(value.pop("kind", None)))
    if kind is None:
        return f"must have a kind: {', '.join(_KINDS)}"
    return next(_wrong_fields(value, kind), "is not a line of an export")


def _wrong_fields(value: dict[str, object], kind: type[Line]) -> typing.Iterator[str]:
    types = typing.get_type_hints(kind, include_extras=True)
    for name in kind.__struct_fields__:
        if name not in value:
            yield f"has no {name}"
            continue
        try:
            FieldType.of(types[name]).read(value[name])
        except ValueError as error:
            yield f"{name} {error}"
    for name in value.keys() - types.keys():
        shown = f"the field {name}" if re.fullmatch("[a-z_]{1,40}", name) else "a field"
        yield f"has {shown}, which this version of taskd does not know: update taskd"


def _check(line: AnyLine) -> None:
    """Check what types cannot express."""
    match line:
        case UserLine() if not is_identity(line.id):
            raise LineError(f"id must be {IDENTITY}")
        case ExportLine() if line.format != FORMAT:
            raise LineError(f"has format {line.format}, but this version of taskd knows {FORMAT}: update taskd")
        case TaskLine() if (line.completed_at is not None) is not (line.status is Status.COMPLETED):
            raise LineError('completed_at must be a time exactly if status is "completed"')
        case TaskLine() if len({*line.tags}) < len(line.tags):
            raise LineError("tags must be different from each other")
        case _:
            _check_times(line)


def _check_times(line: AnyLine) -> None:
    times = [line.created_at, line.updated_at, line.completed_at, line.due_at] if isinstance(line, TaskLine) else []
    times += [line.created_at] if isinstance(line, KeyLine) else []
    for moment in times:
        try:
            _ = moment and moment.astimezone(dt.timezone.utc)
        except OverflowError:
            raise LineError("a time must be in the years 1 to 9999 in UTC") from None
