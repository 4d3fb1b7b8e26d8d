"""
The hooks of taskd: functions that a plugin may define.

A plugin is a module (or any object) named by an entry point in the group `taskd`.  It implements a hook by defining a
function with the hook's name, marked with `taskd.hookimpl`; the function may leave out arguments that it does not need.
Each hook is called at most once, at startup, before the server listens.  Hooks must not do I/O, unless their
description allows it.

*environ* is the process's environment layered over the `.env` file, without variables whose value is empty.
`taskd.settings.load_settings` reads a plugin's own settings from it.  If a setting is wrong, `load_settings` raises a
`taskd.settings.SettingsError`, and taskd exits after printing one line that names the plugin.
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

    This hook is called only for the plugin that `TASKD_AUTH` names.  The backend's `authenticate` returns credentials
    and a user whose `identity` owns the tasks.  Otherwise it raises `taskd.auth.InvalidCredentials` or
    `taskd.auth.MissingCredentials`, or returns None if the request has no credentials; each of these becomes a 401.
    `taskd.auth.AuthUnavailable` becomes a 503.  Any other exception becomes a 500, never an anonymous user.  A user
    whose `is_authenticated` is False also gets a 401.

    A backend may also have:

    - `challenge`: the `WWW-Authenticate` of a 401, or a function that returns it; the function is passed one sentence
      that says what is wrong with the credentials, or None if the request has none;
    - `request_headers`: the names of the request headers that it reads, by default `Authorization`.  Pages of the
      allowed origins may send these headers, clients are told apart by their values under overload, and caches do not
      reuse a response for a request with other values.  If there are none, caches must not store responses at all;
    - `issue_token`, for `taskd token` and `taskd dev` (see `taskd.auth.TokenIssuer`);
    - `diagnose`, for `taskd doctor` (see `taskd.checks.Diagnosable`);
    - `close`, a function or a coroutine function, which is called when the server stops and has two seconds to finish.
    """
    raise NotImplementedError


@hookspec
def taskd_security_scheme() -> Mapping[str, object]:
    """
    Return an OpenAPI 3.1 Security Scheme Object that says how clients send credentials, for the API document.

    This hook is called only for the plugin that `TASKD_AUTH` names.  Without it, the document says only that
    credentials are sent in the `Authorization` header.  `taskd dev` uses the object to show how to send a token.
    """
    raise NotImplementedError


@hookspec
def taskd_trial_settings(environ: Mapping[str, str], file: Path) -> TrialSettings:
    """
    Return settings that a trial needs and *environ* lacks, such as a secret that the plugin generates.

    Only `taskd dev` calls this hook, before `taskd_auth`, and only for the plugin that `TASKD_AUTH` names.  Data that
    must outlive the process can be stored in a file beside *file*, for example in `Path(f"{file}.secret")`.
    """
    raise NotImplementedError


@hookspec
def taskd_storage(environ: Mapping[str, str]) -> TaskStore:
    """Return the store for the tasks.  This hook is called only for the plugin that `TASKD_STORAGE` names."""
    raise NotImplementedError


@hookspec
def taskd_routes(store: TaskStore, environ: Mapping[str, str]) -> Sequence[Route]:
    """
    Return the routes to serve, each a `starlette.routing.Route` that names its methods.

    This hook is called for every enabled plugin.  A route is protected unless its endpoint is marked with
    `taskd.routes.public`: a request reaches it only with valid credentials and, if the path has a `{user_id}`, only if
    that is the user's own.  `request.user.identity` is the owner to pass to *store*.  The path of a public route must
    not overlap that of a protected one, whichever plugins provide them.

    *store* is a wrapper that limits how long each call may take; its attribute `store` is the storage plugin's own
    store.

    `taskd.routes.operation` declares what the API document says about an endpoint; a route with
    `include_in_schema=False` is left out of the document.  The document itself, as JSON, is
    `request.app.state.openapi`.
    """
    raise NotImplementedError
