"""The settings of the webhooks."""

from __future__ import annotations

import base64
import binascii

import environ as environ_config

from taskd.settings import Secret, SettingsError
from taskd.urls import HTTPAddress

__all__ = ["Settings"]

URL, SECRET = "TASKD_WEBHOOKS_URL", "TASKD_WEBHOOKS_SECRET"
# In bytes, as the specification says.
SECRET_LENGTHS = range(24, 65)


def _url(text: str) -> HTTPAddress:
    address = HTTPAddress.parse(text)
    # The value is not quoted: the path of such a URL is often a secret.
    if address is None:
        raise SettingsError(URL, "must be a URL such as https://example.com/hooks, without user, query and fragment")
    if not address.is_confidential:
        raise SettingsError(URL, "must begin with https:// unless it is on this machine")
    return address


def _secrets(text: str) -> tuple[Secret, ...]:
    if not all(map(_is_secret, text.split())):
        raise SettingsError(SECRET, "must be whsec_ and then 24 to 64 bytes in base64; or two of these, with a space")
    return tuple(Secret(each) for each in text.split())


def _is_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith("whsec_") and len(key) in SECRET_LENGTHS


@environ_config.config(prefix="", frozen=True)
class Settings:
    url: HTTPAddress = environ_config.var(name=URL, converter=_url, help="Where to send the messages.")
    secrets: tuple[Secret, ...] = environ_config.var(
        name=SECRET, converter=_secrets, help="What to sign them with; two secrets while one replaces the other."
    )
