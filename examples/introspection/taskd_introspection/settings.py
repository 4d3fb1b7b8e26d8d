"""The settings of the plugin."""

import environ as environ_config

from taskd.settings import ALLOW_PLAINTEXT, Secret, SettingsError, plaintext_setting, seconds
from taskd.urls import HTTPAddress
from taskd_introspection.verdicts import Rules

__all__ = ["IntrospectionSettings"]

URL = "INTROSPECTION_URL"


def _address(text: str) -> HTTPAddress:
    address = HTTPAddress.parse(text)
    if address is None:
        # The value is not quoted: if two variables were mixed up, it is a secret.
        example = "https://sso.example.com/oauth2/introspect"
        raise SettingsError(URL, f"must be a URL such as {example}, without a user, a query or a fragment")
    return address


@environ_config.config(prefix="INTROSPECTION", frozen=True)
class IntrospectionSettings:
    """
    Whom to ask about tokens, and which tokens are for this server.

    Attributes:
        url: The introspection endpoint.
        client_id: The name under which this server is registered there.
        client_secret: The password that belongs to it.
        audience: What `aud` must be or contain; None accepts any.
        issuer: What `iss` must be; None accepts any.
        cache_s: How many seconds to rely on a response.
        allow_plaintext: Whether tokens may be sent to another machine without TLS.
    """

    url: HTTPAddress = environ_config.var(converter=_address)
    client_id: str = environ_config.var()
    client_secret: Secret = environ_config.var(converter=Secret)
    audience: str | None = environ_config.var(None)
    issuer: str | None = environ_config.var(None)
    cache_s: float = environ_config.var(
        "30", name="INTROSPECTION_CACHE", converter=seconds("INTROSPECTION_CACHE", least=1, most=300)
    )
    allow_plaintext: bool = plaintext_setting()

    def endpoint_url(self) -> str:
        """
        Return the URL of the endpoint.

        Raises:
            SettingsError: Others on the network could read the tokens, or sign in as anyone.
        """
        if not (self.url.is_confidential or self.allow_plaintext):
            raise SettingsError(
                URL,
                "must begin with https:// unless the host is this machine: others on the network could read tokens and"
                f" change responses ({ALLOW_PLAINTEXT}=1 allows it)",
            )
        return str(self.url)

    def rules(self) -> Rules:
        """Return which tokens are for this server."""
        return Rules(self.audience, self.issuer)
