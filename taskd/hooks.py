"""
The hooks of taskd: four functions that a plugin may define.

A plugin is a module (or any object) that an entry point in the group `taskd` names.  It implements a hook by a function
of the hook's name, marked with `taskd.hookimpl`; arguments that it does not need may be left out.  Each hook is called
at most once, at start, before the server listens: none may do I/O.

*environ* is the process's environment on top of the `.env` file.  `taskd.load_settings` reads a plugin's own settings
from it and turns what is wrong into a `taskd.SettingsError`, which stops the start with one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pluggy
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route

from taskd.storage import TaskStore

__all__ = ["PROJECT", "hookimpl", "taskd_auth", "taskd_routes", "taskd_security_scheme", "taskd_storage"]

PROJECT = "taskd"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def taskd_auth(environ: Mapping[str, str]) -> AuthenticationBackend:
    """
    Return the backend that tells who a request is from.

    Only the plugin that `TASKD_AUTH` names is asked.  `authenticate` returns credentials and a user whose `identity`
    owns the tasks, raises `taskd.InvalidCredentials` or `taskd.MissingCredentials`, or returns None if no credentials
    came: those become a 401.  `taskd.AuthUnavailable` becomes a 503.  Any other exception becomes a 500, never an
    anonymous user.  A backend that has an `issue_token` (see `taskd.TokenIssuer`) serves `taskd token` and `taskd dev`.
    """
    raise NotImplementedError


@hookspec
def taskd_security_scheme() -> Mapping[str, object]:
    """
    Return how clients send credentials, as a Security Scheme Object of OpenAPI 3.1, for the API document.

    Only the plugin that `TASKD_AUTH` names is asked.  One that leaves it out takes `Authorization: Bearer` and a JWT.
    """
    raise NotImplementedError


@hookspec
def taskd_storage(environ: Mapping[str, str]) -> TaskStore:
    """Return the store that keeps the tasks.  Only the plugin that `TASKD_STORAGE` names is asked."""
    raise NotImplementedError


@hookspec
def taskd_routes(store: TaskStore, environ: Mapping[str, str]) -> Sequence[Route]:
    """
    Return routes to serve, each a `starlette.routing.Route` that names its methods.

    Every enabled plugin is asked.  A route is protected unless its endpoint is marked `taskd.public`: a request reaches
    it only with good credentials, and, where the path has a `{user_id}`, only if that is the user's own.
    `request.user.identity` is the owner to hand to *store*.

    `taskd.operation` declares what the API document says of an endpoint; `include_in_schema=False` in the route leaves
    it out.  The document itself, as JSON, is `request.app.state.openapi`.
    """
    raise NotImplementedError
