"""What is sent: a message for each change of a task."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

import attrs
import msgspec
from standardwebhooks import Webhook

from taskd.settings import Secret
from taskd.tasks import Task

__all__ = ["Message"]


@attrs.frozen
class Message:
    """
    A message, whose *id* stays the same however often it is sent, so that its receiver can recognize repetitions.

    Attributes:
        id: Contains no full stop, because the signature is computed from `ID.TIMESTAMP.BODY`.
        body: What is signed and sent.
    """

    id: str
    body: str = attrs.field(repr=False)

    @classmethod
    def about(cls, type_: str, task: Task) -> Message:
        """Return the message that *task* is new, or has changed.  Each version of a task has one message."""
        # A user's tasks have different ids, and a task never has the same version twice.
        known = uuid.uuid5(task.id, f"{task.user_id} {task.version}")
        return cls(f"msg_{known.hex}", _body(type_, task.updated_at, task))

    @classmethod
    def about_deletion(cls, owner: str, task_id: uuid.UUID) -> Message:
        """Return the message that a task has been deleted."""
        now = dt.datetime.now(dt.timezone.utc)
        return cls(f"msg_{uuid.uuid4().hex}", _body("task.deleted", now, {"id": task_id, "user_id": owner}))

    def headers(self, secrets: Sequence[Secret], now: dt.datetime) -> dict[str, str]:
        """Return the headers for an attempt to send the message at the time *now*, in UTC."""
        signatures = [Webhook(secret.value).sign(self.id, now, self.body) for secret in secrets]
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def _body(type_: str, timestamp: dt.datetime, data: object) -> str:
    return msgspec.json.encode({"type": type_, "timestamp": timestamp, "data": data}).decode()
