"""Read idempotency keys (draft-ietf-httpapi-idempotency-key-header)."""

from __future__ import annotations

import hashlib
import re

from starlette.requests import Request

from taskd.routes import FieldError, InvalidParameter
from taskd.storage import CreationKey

__all__ = ["creation_key"]

HEADER = "Idempotency-Key"

# In the draft, a key is a string in quotes (RFC 9651, section 3.3.3), but many clients leave out the quotes.
_KEY = re.compile(r'"(?P<quoted>[!-~]{1,255})"|(?!""\Z)(?P<plain>[!-~]{1,255})')


def creation_key(request: Request, body: bytes) -> CreationKey | None:
    """
    Return the idempotency key of *request*, with a fingerprint of its *body*; None if it has no key.

    Raises:
        InvalidParameter: The header is not a valid key, or there is more than one.
    """
    lines = request.headers.getlist(HEADER)
    if not lines:
        return None
    found = _KEY.fullmatch(lines[0]) if len(lines) == 1 else None
    if found is None:
        raise InvalidParameter(FieldError(HEADER, "must be one key of 1 to 255 visible ASCII characters"))
    return CreationKey(found["quoted"] or found["plain"], hashlib.sha256(body).digest())
