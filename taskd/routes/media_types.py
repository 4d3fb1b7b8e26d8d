"""Check that a `Content-Type` means JSON in UTF-8 (RFC 9110, section 8.3)."""

from __future__ import annotations

import re

__all__ = ["NAME", "NOT_JSON", "why_not_json"]

NOT_JSON = "The body must be sent with Content-Type: application/json."
# An error quotes at most this many characters from the client.
MAX_QUOTED = 60

# The name of a header, a media type or a parameter: a token (RFC 9110, section 5.6.2).
NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(f"{NAME}/{NAME}")
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:(?P<name>{NAME})=(?P<value>{NAME}|"(?:[^"\\]|\\.)*"))?')
# The second name is a label for UTF-8 in the WHATWG Encoding Standard.
_UTF_8 = {"utf-8", "utf8"}


def why_not_json(content_type: str) -> str | None:
    """Return one sentence that says why *content_type* is not JSON in UTF-8; None if it is."""
    content_type = content_type.strip(" \t")
    media_type = _MEDIA_TYPE.match(content_type)
    if media_type is None:
        return NOT_JSON
    if media_type[0].lower() != "application/json":
        return f"{NOT_JSON.removesuffix('.')}, not {media_type[0][:MAX_QUOTED]}."
    end = media_type.end()
    while end < len(content_type):
        parameter = _PARAMETER.match(content_type, end)
        if parameter is None:
            rest = content_type[end:].strip("; \t")[:MAX_QUOTED]
            return f"The Content-Type is malformed from {rest!r} on: remove that part."
        charset = _value(parameter["value"]) if (parameter["name"] or "").lower() == "charset" else "utf-8"
        if charset.lower() not in _UTF_8:
            return f"The body must be in UTF-8: send it without charset={charset[:MAX_QUOTED]}."
        end = parameter.end()
    return None


def _value(text: str) -> str:
    """Return the value of a parameter from *text*, which may be quoted."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
