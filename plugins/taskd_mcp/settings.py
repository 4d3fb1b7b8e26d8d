"""The settings of the MCP plugin."""

from __future__ import annotations

from collections.abc import Callable

import environ as environ_config

from taskd.settings import ALLOW_PLAINTEXT, SettingsError, plaintext_setting
from taskd.urls import HTTPAddress

__all__ = ["PATH", "MCPSettings"]

PATH = "/mcp"


def _address(variable: str, example: str, ending: str = "") -> Callable[[str | None], HTTPAddress | None]:
    """Return a converter for *variable*, which holds a URL that ends in *ending*."""

    def convert(text: str | None) -> HTTPAddress | None:
        if not text:
            return None
        address = HTTPAddress.parse(text)
        if address is None or not address.path.endswith(ending):
            raise SettingsError(variable, f"must be a URL such as {example}, without a user, a query or a fragment")
        return address

    return convert


@environ_config.config(prefix="TASKD_MCP", frozen=True)
class MCPSettings:
    """
    Where assistants find the endpoint, and who issues their tokens.

    Attributes:
        url: The public URL of the endpoint; None if it is used on this machine only.
        auth_server: The issuer of the OAuth tokens that clients can get by themselves; None if there is none.
        allow_plaintext: Whether these may be URLs of other machines without TLS.
    """

    url: HTTPAddress | None = environ_config.var(
        None,
        converter=_address("TASKD_MCP_URL", "https://tasks.example.com/mcp", PATH),
        help="The public URL of the MCP endpoint, which ends in `/mcp`. If it is not set, only requests to this machine"
        " by its loopback names are accepted.",
    )
    auth_server: HTTPAddress | None = environ_config.var(
        None,
        converter=_address("TASKD_MCP_AUTH_SERVER", "https://app.example.com/api/auth"),
        help="The issuer URL of the OAuth server from which MCP clients can get tokens. Needs `TASKD_MCP_URL`.",
    )

    allow_plaintext: bool = plaintext_setting()

    def check(self) -> None:
        """Raise `SettingsError` if one setting needs another, or if tokens would be sent in plain text."""
        if self.auth_server is not None and self.url is None:
            raise SettingsError("TASKD_MCP_URL", "is not set, and TASKD_MCP_AUTH_SERVER needs it")
        for variable, address in (("TASKD_MCP_URL", self.url), ("TASKD_MCP_AUTH_SERVER", self.auth_server)):
            if address is not None and not (address.is_confidential or self.allow_plaintext):
                raise SettingsError(variable, f"must begin with https://, unless {ALLOW_PLAINTEXT}=1 is set")
