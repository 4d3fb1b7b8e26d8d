"""Write tasks as a calendar (RFC 5545), with icalendar."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator, Mapping
from typing import BinaryIO

from icalendar import Calendar, Todo

from taskd.data import Owner, Record
from taskd.tasks import Priority, Status, Task
from taskd.version import __version__

__all__ = ["write"]

_END = b"END:VCALENDAR\r\n"
_STATUSES: Mapping[Status, str] = {
    Status.PENDING: "NEEDS-ACTION",
    Status.IN_PROGRESS: "IN-PROCESS",
    Status.COMPLETED: "COMPLETED",
}
# RFC 5545, section 3.8.1.9: 1 is the highest, 5 is normal, and 9 is the lowest.
_PRIORITIES: Mapping[Priority, int] = {
    Priority.URGENT: 1,
    Priority.HIGH: 3,
    Priority.MEDIUM: 5,
    Priority.LOW: 9,
}
_LINE_BREAK = re.compile("\r\n?")
# RFC 5545, section 3.3.11: a text must not contain these.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


async def write(records: AsyncIterator[Record], output: BinaryIO) -> tuple[int, int]:
    """Write the tasks among *records*, one at a time, and return how many users and tasks there were."""
    calendar = Calendar()
    calendar.add("prodid", f"-//taskd//taskd {__version__}//EN")
    calendar.add("version", "2.0")
    output.write(calendar.to_ical().removesuffix(_END))
    users = tasks = 0
    async for record in records:
        users += isinstance(record, Owner)
        if isinstance(record, Task):
            tasks += 1
            output.write(_todo(record).to_ical())
    output.write(_END)
    return users, tasks


def _todo(task: Task) -> Todo:
    todo = Todo()
    todo.add("uid", str(task.id))
    # Without a method, this is when the entry was last changed.
    todo.add("dtstamp", _seconds(task.updated_at))
    todo.add("created", _seconds(task.created_at))
    todo.add("last-modified", _seconds(task.updated_at))
    todo.add("summary", _text(task.title))
    if task.description:
        todo.add("description", _text(task.description))
    todo.add("status", _STATUSES[task.status])
    todo.add("priority", _PRIORITIES[task.priority])
    if task.due_at is not None:
        todo.add("due", _seconds(task.due_at))
    if task.completed_at is not None:
        todo.add("completed", _seconds(task.completed_at))
        todo.add("percent-complete", 100)
    if task.tags:
        todo.add("categories", [_text(tag) for tag in task.tags])
    return todo


def _seconds(moment: dt.datetime) -> dt.datetime:
    """Return *moment* without the fraction of a second, which calendars do not have."""
    return moment.replace(microsecond=0)


def _text(text: str) -> str:
    return _CONTROL.sub("\ufffd", _LINE_BREAK.sub("\n", text))
