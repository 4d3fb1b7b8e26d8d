"""Ask the introspection endpoint, which may be slow, broken or malicious."""

import asyncio
from typing import Any
from urllib.parse import quote_plus

import attrs
import httpx
import msgspec

from taskd.settings import Secret
from taskd.tls import tls_context

__all__ = ["Endpoint", "EndpointError"]

# For a whole call; taskd waits three seconds for an auth plugin.
TIMEOUT_S = 2.5
MAX_RESPONSE_BYTES = 64 * 1024
# How many tokens are asked about at once.
MAX_CONNECTIONS = 20
# Keeps log lines short: the server controls some of the text.
MAX_REASON_LENGTH = 200


class EndpointError(Exception):
    """The endpoint did not say whether a token is active; the message says why, without a secret."""


@attrs.frozen(eq=False)
class Endpoint:
    """
    An introspection endpoint (RFC 7662).

    Attributes:
        url: Where it is.  The URL is logged.
        client_id: The name under which this server is registered there.
        client_secret: The password that belongs to it.
        timeout_s: How long a call may take.
    """

    url: str
    client_id: str
    client_secret: Secret
    timeout_s: float = TIMEOUT_S
    _client: httpx.AsyncClient = attrs.field(init=False, repr=False)

    @_client.default
    def _unconnected(self) -> httpx.AsyncClient:
        # RFC 6749, section 2.3.1: both are encoded as in a form.
        credentials = httpx.BasicAuth(quote_plus(self.client_id), quote_plus(self.client_secret.value))
        return httpx.AsyncClient(
            auth=credentials,
            verify=tls_context(),
            # Ignore proxies and passwords in the environment: the server that responds decides who is authenticated.
            trust_env=False,
            follow_redirects=False,
            # Each step ends before the whole call is cancelled, because httpcore then leaves connections open.
            timeout=httpx.Timeout(self.timeout_s, pool=self.timeout_s / 5, connect=self.timeout_s * 0.35),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            # A compressed response could expand to any size.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def ask(self, token: str) -> dict[str, Any]:
        """
        Return what the endpoint says about *token*.

        Raises:
            EndpointError: It cannot be reached, takes too long, or does not respond as RFC 7662 says.
        """
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            async with asyncio.timeout(self.timeout_s), self._client.stream("POST", self.url, data=form) as response:
                content = await _content(response)
        except (TimeoutError, httpx.TimeoutException):
            raise EndpointError("no response in time") from None
        # ValueError: the host is not a valid internationalized name.  OSError: TLS fails after the handshake.
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise EndpointError((str(error) or type(error).__name__)[:MAX_REASON_LENGTH]) from None
        return _read(content)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def _content(response: httpx.Response) -> bytes:
    status = response.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise EndpointError(f"the response is {status}: are INTROSPECTION_CLIENT_ID and its secret right?")
    if status != httpx.codes.OK:
        raise EndpointError(f"the response is {status}")
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or response.headers.get("Content-Encoding", "identity") != "identity":
        raise EndpointError("the response is not plain application/json")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_RESPONSE_BYTES:
            raise EndpointError(f"the response has more than {MAX_RESPONSE_BYTES} bytes")
    return bytes(content)


def _read(content: bytes) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    # RecursionError: it is nested too deeply.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EndpointError("the response is not a JSON object") from None
    # Any other value, such as "false", must not be taken for true.
    if not isinstance(claims.get("active"), bool):
        raise EndpointError("the response does not say whether the token is active")
    return claims
