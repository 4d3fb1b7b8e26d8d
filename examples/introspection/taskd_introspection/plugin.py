"""Auth: ask an OAuth 2.0 authorization server about each bearer token."""

from collections.abc import Mapping

from taskd import hookimpl
from taskd.settings import load_settings
from taskd_introspection.backend import IntrospectionBackend
from taskd_introspection.endpoint import Endpoint
from taskd_introspection.settings import IntrospectionSettings
from taskd_introspection.verdicts import VerdictCache


@hookimpl
def taskd_auth(environ: Mapping[str, str]) -> IntrospectionBackend:
    settings = load_settings(IntrospectionSettings, environ)
    endpoint = Endpoint(settings.endpoint_url(), settings.client_id, settings.client_secret)
    return IntrospectionBackend(endpoint, settings.rules(), VerdictCache(settings.cache_s))


@hookimpl
def taskd_security_scheme() -> Mapping[str, object]:
    return {
        "type": "http",
        "scheme": "bearer",
        "description": "Send exactly one header `Authorization: Bearer TOKEN`, where TOKEN is an access token that the"
        " authorization server has issued. Its `sub` is your user id.",
    }
