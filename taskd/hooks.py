"""
The hooks of taskd: functions that a plugin may define.

A plugin is a module (or any object) that an entry point in the group `taskd` names.  It implements a hook with a
function of the hook's name, marked with `taskd.hookimpl`; it may leave out arguments that it does not need.  Each hook
is called at most once, at start, before the server listens: hooks must not do I/O, unless their description allows it.

*environ* is the process's environment on top of the `.env` file, without variables whose value is empty.
`taskd.settings.load_settings` reads a plugin's own settings from it.  If one is wrong, it raises a
`taskd.settings.SettingsError`, and taskd exits with one line that names the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pluggy
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route

from taskd.auth import TrialSettings
from taskd.storage import TaskStore

__all__ = [
    "PROJECT",
    "hookimpl",
    "taskd_auth",
    "taskd_routes",
    "taskd_security_scheme",
    "taskd_storage",
    "taskd_trial_settings",
]

PROJECT = "taskd"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def taskd_auth(environ: Mapping[str, str]) -> AuthenticationBackend:
    """
    Return the backend that identifies the user of a request.

    It is called only for the plugin that `TASKD_AUTH` names.  `authenticate` returns credentials and a user whose
    `identity` owns the tasks, raises `taskd.auth.InvalidCredentials` or `taskd.auth.MissingCredentials`, or returns
    None if the request has no credentials: those become a 401.  `taskd.auth.AuthUnavailable` becomes a 503.  Any other
    exception becomes a 500, never an anonymous user; a user whose `is_authenticated` is False gets a 401, too.

    A backend may also have:

    - `challenge`: the `WWW-Authenticate` of a 401, or a function that returns it; the function is passed what is wrong
      with the credentials, one sentence, or None if the request has none;
    - `request_headers`: the names of the request headers that it reads, by default `Authorization`; pages of the
      allowed origins may send them, and under overload a client is recognized by their values;
    - `issue_token`, for `taskd token` and `taskd dev` (see `taskd.auth.TokenIssuer`);
    - `diagnose`, for `taskd doctor` (see `taskd.checks.Diagnosable`);
    - `close`, a function or a coroutine function, which is called when the server stops, and given two seconds.
    """
    raise NotImplementedError


@hookspec
def taskd_security_scheme() -> Mapping[str, object]:
    """
    Return how clients send credentials, as a Security Scheme Object of OpenAPI 3.1, for the API document.

    It is called only for the plugin that `TASKD_AUTH` names.  Without this hook, the document only says that
    credentials are sent in the header `Authorization`.  `taskd dev` uses it to show how to send a token.
    """
    raise NotImplementedError


@hookspec
def taskd_trial_settings(environ: Mapping[str, str], file: Path) -> TrialSettings:
    """
    Return the settings that are missing in *environ* for a trial, such as a secret that the plugin generates.

    Only `taskd dev` calls it, before `taskd_auth`, and only for the plugin that `TASKD_AUTH` names.  Data that must
    outlive the process can be stored in a file beside *file*, for example in `Path(f"{file}.secret")`.
    """
    raise NotImplementedError


@hookspec
def taskd_storage(environ: Mapping[str, str]) -> TaskStore:
    """Return the store for the tasks.  It is called only for the plugin that `TASKD_STORAGE` names."""
    raise NotImplementedError


@hookspec
def taskd_routes(store: TaskStore, environ: Mapping[str, str]) -> Sequence[Route]:
    """
    Return routes to serve, each a `starlette.routing.Route` that names its methods.

    It is called for every enabled plugin.  A route is protected unless its endpoint is marked `taskd.routes.public`: a
    request reaches it only with valid credentials, and, where the path has a `{user_id}`, only if that is the user's
    own.  `request.user.identity` is the owner to pass to *store*.  The path of a public route must not overlap that of
    a protected one, whichever plugin provides it.

    *store* is a wrapper that limits how long each call may take; the plugin's own store is its attribute `store`.

    `taskd.routes.operation` declares what the API document says about an endpoint; `include_in_schema=False` in the
    route leaves it out.  The document itself, as JSON, is `request.app.state.openapi`.
    """
    raise NotImplementedError
