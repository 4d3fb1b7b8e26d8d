"""Define the checks that plugins provide for `taskd doctor`."""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
from attrs.validators import instance_of

__all__ = ["Check", "Diagnosable", "Outcome", "hiding", "long_timeouts"]

# A client, or a proxy, gives up sooner.
_LONGEST_S = 60


class Outcome(enum.Enum):
    """How a check ended.  A note is not a failure, but an operator may want to act on it."""

    OK = "ok"
    NOTE = "note"
    FAILED = "FAILED"
    NOT_CHECKED = "-"


@attrs.frozen
class Check:
    """
    The result of one check.

    Args:
        name: What was checked, in a word or two.
        outcome: How the check ended.
        finding: What was found, on one line.  It must not contain a secret.
        remedy: What to do about it, unless the outcome is OK.
    """

    name: str = attrs.field(validator=instance_of(str))
    outcome: Outcome = attrs.field(validator=instance_of(Outcome))
    finding: str = attrs.field(validator=instance_of(str))
    remedy: str = attrs.field(default="", validator=instance_of(str))


@runtime_checkable
class Diagnosable(Protocol):
    """What `taskd doctor` needs from an auth backend or a task store; optional."""

    def diagnose(self) -> AsyncIterator[Check]:
        """Check everything that the backend or store depends on, in order of dependency, without changing anything."""
        ...


def long_timeouts(seconds: Mapping[str, float]) -> Iterator[Check]:
    """
    Yield a note if time-outs are so long that whoever set them must have meant milliseconds.

    Args:
        seconds: The value of each setting.
    """
    if too_long := [f"{name} is {value:g} seconds" for name, value in seconds.items() if value > _LONGEST_S]:
        yield Check("time-outs", Outcome.NOTE, ", ".join(too_long), "Set it in seconds, not in milliseconds.")


def hiding(file: Path) -> str:
    """Return the command that hides *file* from other users, but not from this one, who may not own it."""
    found, command = file.stat(), f"chmod o-rwx {file}"
    if found.st_uid == os.geteuid() or found.st_gid in {os.getegid(), *os.getgroups()}:
        return command
    return f"chgrp {_group()} {file} && {command}"


def _group() -> str:
    """Return the name of this process's group, or its number if it has none."""
    import grp  # noqa: PLC0415  Windows has no such module, but may import this one

    try:
        return grp.getgrgid(os.getegid()).gr_name
    except KeyError:
        return str(os.getegid())
