"""Read an export, one user at a time, and check all of a user's lines before any of them is stored."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, Protocol
from uuid import UUID

import attrs
import click
import msgspec

from taskd.cli.data.lines import (
    MAX_LINE_BYTES,
    AnyLine,
    DoneLine,
    EndLine,
    ExportLine,
    KeyLine,
    Line,
    LineError,
    TaskLine,
    UserLine,
    encode,
    line_of,
    read_line,
)
from taskd.data import Owner, Record, RememberedKey
from taskd.tasks import Task

__all__ = ["ExportReader", "GatheredUser", "WrongLine", "digest_of"]

# How much of a user's lines stays in memory; the rest goes to a temporary file.
IN_MEMORY_BYTES = 4 * 1024 * 1024


class WrongLine(click.ClickException):
    """A line of the file is wrong."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} {reason}")

    def show(self, file: IO[str] | None = None) -> None:
        """Print the message as other errors are printed."""
        click.echo(f"taskd: {self.message}", file=file, err=file is None)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def _new_digest() -> _Digest:
    return hashlib.blake2b()


async def digest_of(records: AsyncIterator[Record]) -> bytes:
    """Return the digest of *records*, which belong to one user, to compare with `GatheredUser.digest`."""
    digest = _new_digest()
    async for record in records:
        digest.update(encode(line_of(record)))
    return digest.digest()


@attrs.define(eq=False)
class GatheredUser:
    """
    A user whose lines have been read and checked.

    Attributes:
        owner: The user.
        number: The number of the user's first line.
        counts: How many tasks and keys there are.
    """

    owner: Owner
    number: int
    counts: EndLine = attrs.field(init=False, factory=lambda: EndLine(0, 0))
    _tasks: IO[bytes]
    _keys: IO[bytes]
    _digest: _Digest = attrs.field(init=False, factory=_new_digest)
    _last_id: UUID | None = attrs.field(init=False, default=None)
    _last_key: str = attrs.field(init=False, default="")

    def __attrs_post_init__(self) -> None:
        self._digest.update(encode(line_of(self.owner)))

    @classmethod
    @contextlib.contextmanager
    def begin(cls, line: UserLine, number: int) -> Iterator[GatheredUser]:
        """Yield a user without tasks, whose temporary files are deleted after the block."""
        with (
            SpooledTemporaryFile(IN_MEMORY_BYTES) as tasks,
            SpooledTemporaryFile(IN_MEMORY_BYTES) as keys,
        ):
            yield cls(line.owner(), number, tasks, keys)

    @property
    def digest(self) -> bytes:
        """A hash of all records."""
        return self._digest.digest()

    def add(self, line: AnyLine) -> None:
        """Add a task or a key, or raise `LineError` if it cannot be one of this user's."""
        if isinstance(line, TaskLine):
            self._add_task(line)
        elif isinstance(line, KeyLine):
            self._add_key(line)
        else:
            raise LineError("comes before the end of the user")

    def _add_task(self, line: TaskLine) -> None:
        if self._last_id is not None and line.id <= self._last_id:
            raise LineError("has an id that does not come after that of the previous task")
        if line.version > self.owner.seq:
            raise LineError("has a version that is higher than the user's seq")
        self._last_id = line.id
        self.counts.tasks += 1
        self._keep(line_of(line.task(self.owner.id)), self._tasks)

    def _add_key(self, line: KeyLine) -> None:
        if line.key <= self._last_key:
            raise LineError("has a key that does not come after the previous one")
        self._last_key = line.key
        self.counts.keys += 1
        self._keep(line_of(line.remembered()), self._keys)

    def _keep(self, line: Line, spool: IO[bytes]) -> None:
        text = encode(line)  # in one form, however it was written in the file
        spool.write(text)
        self._digest.update(text)

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks."""
        self._tasks.seek(0)
        decode = msgspec.json.Decoder(TaskLine).decode
        return (decode(text).task(self.owner.id) for text in self._tasks)

    def keys(self) -> Iterator[RememberedKey]:
        """Yield the keys."""
        self._keys.seek(0)
        decode = msgspec.json.Decoder(KeyLine).decode
        return (decode(text).remembered() for text in self._keys)


@attrs.define
class ExportReader:
    """
    Reads the lines of an export.

    Attributes:
        advance: Called with the number of bytes of each line that is read.
        number: The number of the last line that was read.
    """

    _file: BinaryIO
    advance: Callable[[int], object]
    number: int = attrs.field(init=False, default=0)

    def users(self) -> Iterator[GatheredUser]:
        """
        Yield each user when all of the user's lines have been read; the user is good until the next one.

        Raises:
            WrongLine: A line is wrong.
        """
        if not isinstance(self._next(), ExportLine):
            raise self._wrong("is not the first line of an export")
        count, last = 0, ""
        while isinstance(line := self._next(), UserLine):
            if line.id <= last:
                # Otherwise, what a user has in one part of the file could replace what is in another.
                raise self._wrong("begins a user who does not come after the previous one")
            last = line.id
            with GatheredUser.begin(line, self.number) as user:
                self._gather(user)
                yield user
            count += 1
        if not isinstance(line, DoneLine):
            raise self._wrong("must begin another user, or be the end of the export")
        if line.users != count:
            raise self._wrong(f"counts {line.users} users, but there are {count}")
        if self._read():
            raise self._wrong("comes after the end of the export")

    def _gather(self, user: GatheredUser) -> None:
        """Add all lines of *user*."""
        while not isinstance(line := self._next(), EndLine):
            try:
                user.add(line)
            except LineError as error:
                raise self._wrong(str(error)) from None
        if line != user.counts:
            raise self._wrong(
                f"counts {line.tasks} tasks and {line.keys} keys, but there are {user.counts.tasks} and"
                f" {user.counts.keys}"
            )

    def _next(self) -> AnyLine:
        text = self._read()
        if not text:
            raise self._wrong("is missing: the file ends before the export does")
        try:
            return read_line(text)
        except LineError as error:
            raise self._wrong(str(error)) from None

    def _read(self) -> bytes:
        """Return the next line; nothing at the end."""
        self.number += 1
        text = self._file.readline(MAX_LINE_BYTES + 1)
        if len(text) > MAX_LINE_BYTES:
            raise self._wrong(f"is longer than {MAX_LINE_BYTES} bytes")
        self.advance(len(text))
        return text

    def _wrong(self, reason: str) -> WrongLine:
        return WrongLine(self.number, reason)
