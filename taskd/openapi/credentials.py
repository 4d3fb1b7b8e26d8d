"""How a client sends a token, according to the API document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["header_with"]


def header_with(token: str, schemes: Sequence[Mapping[str, object]]) -> tuple[str, str]:
    """
    Return the name and the value of the request header in which to send *token*.

    Args:
        token: A token from the auth plugin.
        schemes: The OpenAPI Security Scheme Objects of that plugin, of which the first one counts.
    """
    scheme = next(iter(schemes), {})
    if scheme.get("type") == "http":
        return "Authorization", f"{str(scheme.get('scheme')).capitalize()} {token}"
    if (scheme.get("type"), scheme.get("in")) == ("apiKey", "header"):
        return str(scheme.get("name")), token
    return "Authorization", token
