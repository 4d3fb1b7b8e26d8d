"""
The hooks of taskd: functions that a plugin may define.

A plugin is a module (or any object) named by an entry point in the group `taskd`.  It implements a hook by defining a
function with the hook's name, marked with `taskd.hookimpl`; the function may leave out arguments that it does not need.
If the entry point names a class, each application makes an instance of it without arguments, so that hooks, as methods,
can share what they keep in `self`.
Each hook is called at most once, at startup, before the server listens.  Hooks must not do I/O, unless their
description allows it.

*environ* is the process's environment layered over the `.env` file, without variables whose value is empty.
`taskd.settings.load_settings` reads a plugin's own settings from it.  If a setting is wrong, `load_settings` raises a
`taskd.settings.SettingsError`, and taskd exits after printing one line that names the plugin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy
from starlette.authentication import AuthenticationBackend
from starlette.routing import Route
from starlette.types import ASGIApp

from taskd.auth import TrialSettings
from taskd.checks import Check
from taskd.parts import Parts
from taskd.storage import StoreWrapper, TaskStore
from taskd.telemetry import Measurement, Observer

if TYPE_CHECKING:
    import click

__all__ = [
    "PROJECT",
    "VERSION",
    "hookimpl",
    "taskd_auth",
    "taskd_checks",
    "taskd_commands",
    "taskd_lifespan",
    "taskd_middleware",
    "taskd_observer",
    "taskd_routes",
    "taskd_security_scheme",
    "taskd_storage",
    "taskd_trial_settings",
    "taskd_wrap_store",
]

PROJECT = "taskd"
"""The name by which pluggy knows the hooks."""

VERSION = "2.1"
"""
The version of the hooks.  The first number changes when a plugin that was correct may no longer work, and the second
when hooks, or arguments of hooks, are added.
"""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as an implementation of the hook of the same name."""


@hookspec
def taskd_auth(environ: Mapping[str, str], parts: Parts) -> AuthenticationBackend:
    """
    Return the backend that identifies the user of a request.

    This hook is called only for the plugin that `TASKD_AUTH` names, and for those whose backend that plugin gets from
    *parts*.  The backend's `authenticate` returns credentials
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
def taskd_security_scheme(
    environ: Mapping[str, str], parts: Parts
) -> Mapping[str, object] | Sequence[Mapping[str, object]]:
    """
    Return an OpenAPI 3.1 Security Scheme Object that says how clients send credentials, for the API document.

    If there are several ways, of which a client uses one, return a list of such objects.

    This hook is called only for the plugin that `TASKD_AUTH` names, and for those that it names to *parts*.  Without
    it, the document says only that credentials are sent in the `Authorization` header.  `taskd dev` uses the first
    object to show how to send a token.
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
def taskd_storage(environ: Mapping[str, str], parts: Parts) -> TaskStore:
    """
    Return the store for the tasks.

    This hook is called only for the plugin that `TASKD_STORAGE` names, and for those whose store that plugin gets from
    *parts*.
    """
    raise NotImplementedError


@hookspec
def taskd_wrap_store(store: TaskStore, environ: Mapping[str, str]) -> StoreWrapper:
    """
    Return a wrapper of *store*, which sees every call, and may do something before, after or instead of it.

    This hook is called only for the plugins that `TASKD_STORE_WRAPPERS` names.  A call passes through the wrappers in
    the order in which they are named there.  *store* is the next wrapper, or the store itself.

    To refuse a call for a reason of its own, such as a quota, a wrapper raises `starlette.exceptions.HTTPException` or
    `taskd.errors.CodedError`, as an endpoint may.
    """
    raise NotImplementedError


@hookspec
def taskd_middleware(environ: Mapping[str, str]) -> Callable[[ASGIApp], ASGIApp]:
    """
    Return ASGI middleware: a class or function that takes an ASGI application and returns another, which calls it.

    This hook is called only for the plugins that `TASKD_MIDDLEWARE` names.  A request passes through the middleware in
    the order in which they are named there, before a route is looked up and the user is known: `taskd.auth.when_known`
    calls back once it is, and when the application has responded, `scope["user"]` is the user, if there is one.
    Middleware only sees HTTP requests.  It may raise `starlette.exceptions.HTTPException` or `taskd.errors.CodedError`,
    as an endpoint may.  The common headers of all responses, including those for CORS, are added outside of it.
    """
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


@hookspec
def taskd_lifespan(store: TaskStore, environ: Mapping[str, str]) -> AbstractAsyncContextManager[object]:
    """
    Return an async context manager for what must run as long as the server does.

    This hook is called for every enabled plugin.  Each worker process enters its context manager before it serves the
    first request, and leaves it when it stops, after the last response and before the store is closed.  Entering may
    take 10 seconds, and leaving two.  If entering fails, the server does not start.

    *store* is the one that is passed to `taskd_routes`.
    """
    raise NotImplementedError


@hookspec
def taskd_observer(environ: Mapping[str, str], measurements: Callable[[], Iterable[Measurement]]) -> Observer:
    """
    Return a function that is called with a `taskd.telemetry.FinishedRequest` at the end of each response.

    This hook is called for every enabled plugin.  The function sees every response of the application, including
    refusals under overload and responses to preflights.  The next request of the same connection waits until it
    returns, so it must be quick; an exception is logged.

    *measurements* returns the numbers that the core, the store, its wrappers and the auth backend publish, as they are
    now.  It must be called in the event loop, and neither in this hook nor for each request.
    """
    raise NotImplementedError


@hookspec
def taskd_commands(environ: Mapping[str, str]) -> Sequence[click.Command]:
    """
    Return commands for the command line, each of which becomes `taskd NAME`.

    This hook is called for every enabled plugin, but only by `taskd --help` and for commands that are not taskd's own.
    A command that needs tasks gets the store from `taskd.commands.open_store`.
    """
    raise NotImplementedError


@hookspec
def taskd_checks(store: TaskStore, environ: Mapping[str, str]) -> AsyncIterator[Check]:
    """
    Return checks of what the plugin depends on, for `taskd doctor`, which change nothing.

    This hook is called for every enabled plugin, and is usually an `async def` that yields each `taskd.checks.Check`.
    *store* is the one that is passed to `taskd_routes`.
    """
    raise NotImplementedError
