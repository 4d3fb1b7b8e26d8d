"""The tasks that the API document shows as examples."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from taskd.tasks import Priority, Status, Task

__all__ = ["DONE", "OPEN"]

OPEN = Task(
    id=UUID("019ab7d4-5c00-7b2a-9d3e-4f5061728394"),
    user_id="dev",
    title="Water the plants",
    description=None,
    status=Status.PENDING,
    priority=Priority.HIGH,
    due_at=dt.datetime(2026, 11, 27, 17, 0, tzinfo=dt.timezone.utc),
    tags=("home",),
    created_at=dt.datetime(2026, 11, 25, 8, 30, 12, 345678, tzinfo=dt.timezone.utc),
    updated_at=dt.datetime(2026, 11, 25, 8, 30, 12, 345678, tzinfo=dt.timezone.utc),
    completed_at=None,
    version=41,
)
DONE = OPEN.toggled(dt.datetime(2026, 11, 26, 18, 4, 5, 678901, tzinfo=dt.timezone.utc), version=42)
