"""What schemathesis must know about requests, but the API document cannot say."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import schemathesis
from uuid_utils import uuid7

KEY = re.compile(r'"?([!-~]{1,200}?)"?')


def before_call(_context: object, case: Any, **_kwargs: object) -> None:
    """Change valid requests so that they can succeed, and leave all others alone."""
    if not case.meta.generation.mode.is_positive:
        return
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and (valid := KEY.fullmatch(key)):
        # The same key with another body is refused.
        case.headers["Idempotency-Key"] = f"{valid[1]}{uuid4()}"
    if case.operation.definition.raw["operationId"] == "updateTask" and case.headers.get("If-None-Match") == "*":
        # The id must be new, and the body is that of a new task.
        case.headers.pop("If-Match", None)
        case.path_parameters["id"] = str(uuid7())
        if isinstance(case.body, dict):
            case.body.setdefault("title", "t")


schemathesis.hook(before_call)
