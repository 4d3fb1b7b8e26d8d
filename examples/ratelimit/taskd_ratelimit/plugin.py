"""Middleware: limit how many requests each user, and each address without a known user, may send."""

from collections.abc import Callable, Mapping

import environ as environ_config
from starlette.types import ASGIApp

from taskd import hookimpl
from taskd.settings import SettingsError, load_settings
from taskd_ratelimit.known_users import KnownUsers
from taskd_ratelimit.middleware import RateLimiter
from taskd_ratelimit.policy import Policy

DAY_S = 24 * 60 * 60


def whole_number(variable: str, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
            raise SettingsError(variable, f"must be a whole number from 1 to {most}")
        return int(text[:9])

    return convert


def header_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@environ_config.config(prefix="RATELIMIT", frozen=True)
class RateLimitSettings:
    user: int = environ_config.var("300", converter=whole_number("RATELIMIT_USER", 1_000_000))
    address: int = environ_config.var("300", converter=whole_number("RATELIMIT_ADDRESS", 1_000_000))
    window_s: int = environ_config.var("60", name="RATELIMIT_WINDOW", converter=whole_number("RATELIMIT_WINDOW", DAY_S))
    headers: list[str] = environ_config.var("Authorization", converter=header_names)


@hookimpl
def taskd_middleware(environ: Mapping[str, str]) -> Callable[[ASGIApp], ASGIApp]:
    settings = load_settings(RateLimitSettings, environ)
    per_user = Policy("user", settings.user, settings.window_s)
    per_address = Policy("address", settings.address, settings.window_s)
    known = KnownUsers.by_headers(settings.headers)
    return lambda app: RateLimiter(app, per_user, per_address, known)
