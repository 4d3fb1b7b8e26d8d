"""Write tasks as bytes, and read them again."""

import datetime as dt
from uuid import UUID

import msgspec

from taskd.storage import StoreError
from taskd.tasks import Priority, Status, Task

__all__ = ["decode", "encode"]


class Content(msgspec.Struct):
    """What is stored of a task, beside its owner, its id and its version."""

    title: str
    description: str | None
    status: Status
    priority: Priority
    due_at: dt.datetime | None
    tags: tuple[str, ...]
    created_at: dt.datetime
    updated_at: dt.datetime
    completed_at: dt.datetime | None


_FIELDS = Content.__struct_fields__
_decoder = msgspec.json.Decoder(Content)


def encode(task: Task) -> bytes:
    """Return what is stored of *task* behind its version."""
    return msgspec.json.encode({name: getattr(task, name) for name in _FIELDS})


def decode(owner: str, task_id: str, value: bytes) -> Task:
    """
    Return a task of *owner* from the *value* that is stored for it.

    Raises:
        StoreError: Something else has written the value.
    """
    try:
        version, _, content = value.partition(b":")
        fields = msgspec.structs.asdict(_decoder.decode(content))
        return Task(id=UUID(task_id), user_id=owner, version=int(version), **fields)
    except ValueError:
        raise StoreError("a stored task cannot be read") from None
