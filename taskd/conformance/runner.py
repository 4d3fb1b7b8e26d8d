"""Run checks against a server, a few at a time, and delete what they have created."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from http.cookiejar import DefaultCookiePolicy

import attrs
import httpx

from taskd.conformance.client import Account, Client, Exchange
from taskd.conformance.expect import Failed, Skipped
from taskd.conformance.registry import Check
from taskd.conformance.report import MIN_SECRET_LENGTH, Outcome, Report, Result, shown
from taskd.tls import tls_context

__all__ = ["Target", "Unusable", "run"]

MAX_AT_ONCE = 4
# Tasks of servers that answer nothing any more are left behind.
CLEAN_UP_TIMEOUT_S = 60


class Unusable(Exception):
    """The server cannot be checked; the text says why, and what to do."""


@attrs.frozen
class Target:
    """
    A server, and how to use it.

    Attributes:
        url: Its address, without a path.
        account: The user whose tasks the checks create and read.
        other_account: Another user, for checks that users are kept apart.
        origin: The origin of a page that may call the server.
        timeout_s: How long each check may take.
        prefix: The path below which a proxy serves it; empty if none does.
    """

    url: str
    account: Account
    other_account: Account | None = None
    origin: str | None = None
    timeout_s: float = 30
    prefix: str = ""

    @property
    def accounts(self) -> list[Account]:
        """The users whose credentials are known."""
        return [self.account, *([self.other_account] if self.other_account else [])]


async def run(target: Target, checks: Iterable[Check], transport: httpx.AsyncBaseTransport | None = None) -> Report:
    """
    Run *checks* against *target*.

    Args:
        target: The server.
        checks: The checks.
        transport: How to reach the server, if not over the network.

    Raises:
        Unusable: The server cannot be reached, refuses the credentials, or is something else.
    """
    async with _http(target, transport) as http:
        running = _Run(target, http, f"taskd conformance {secrets.token_hex(4)}")
        for account in target.accounts:
            await _probe(running.client(account), target)
        try:
            results = await running.results(list(checks))
        finally:
            leftovers = await running.clean_up()
    return Report(results, leftovers, running.mark)


@contextlib.asynccontextmanager
async def _http(target: Target, transport: httpx.AsyncBaseTransport | None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "taskd-conformance"}
    verify = tls_context() if transport is None else True
    async with httpx.AsyncClient(
        base_url=target.url, verify=verify, headers=headers, timeout=target.timeout_s, transport=transport
    ) as http:
        # A cookie would be sent with every later request, also with those that must have no credentials.
        http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield http


async def _probe(client: Client, target: Target) -> None:
    """Check that there is a server at *target*, and that it accepts the credentials of the client's user."""
    path, url = client.tasks, f"{target.url}{target.prefix}"
    try:
        # The client's own limit is for each read.
        async with asyncio.timeout(target.timeout_s):
            response = await client.get(f"{path}?limit=1")
            # A server that has no path of the contract is another one; one that has a path may have a fault.
            is_another = response.status_code == 404 and (await client.get("/livez")).status_code != 200
    except TimeoutError:
        raise Unusable(f"{url} does not respond within {target.timeout_s:g} s") from None
    except (httpx.HTTPError, UnicodeError) as error:
        raise Unusable(f"cannot reach {url}: {_reason(error)}") from None
    if is_another:
        raise Unusable(f"there is nothing at {path} and /livez: is {url} a server that keeps the contract?")
    if problem := _problem(response, client.account):
        raise Unusable(problem)


def _problem(response: httpx.Response, account: Account) -> str:
    """Return why a server cannot be checked that sent *response* to the first request; empty if it can."""
    status, path = response.status_code, account.tasks
    if status == 401:
        return f"the server refuses the credentials of {account.user!r}: {_detail(response, account)}"
    if response.is_redirect:
        where = response.headers.get("Location")
        return f"the server redirects GET {path} to {where}: use the address that it leads to"
    if response.is_server_error:
        return f"the server responds to GET {path} with {status}: {_detail(response, account)}"
    return ""


def _detail(response: httpx.Response, account: Account) -> str:
    """Return what *response* says, on one line, without credentials."""
    _, received = shown(Exchange(response.request, response), [account.token])
    text = " ".join(received.body.split()) if received else ""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = str(json.loads(text)["detail"])
    return text or "it does not say why"


def _reason(error: Exception) -> str:
    """Return what went wrong, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


@attrs.frozen
class _Run:
    """
    A run of checks.

    Attributes:
        mark: What the titles and the tags of all tasks begin with.
    """

    target: Target
    http: httpx.AsyncClient
    mark: str
    _made: list[tuple[Account, str]] = attrs.field(factory=list)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    def client(self, account: Account) -> Client:
        """Return a client for another check."""
        return Client(
            self.http,
            account,
            # The space keeps one tag from being the beginning of another.
            f"{self.mark} {next(self._numbers)}.",
            self.target.other_account,
            self.target.origin,
            self.target.prefix,
            {each.token for each in self.target.accounts},
            made=self._made,
        )

    async def results(self, checks: Sequence[Check]) -> list[Result]:
        """Return the results of *checks* in their order; those that must be alone come last."""
        slots = asyncio.Semaphore(MAX_AT_ONCE)

        async def in_turn(check: Check) -> Result:
            async with slots:
                return await self._result(check)

        together = [check for check in checks if not check.is_alone]
        found = dict(zip(together, await asyncio.gather(*map(in_turn, together)), strict=True))
        for check in checks:
            if check.is_alone:
                found[check] = await self._result(check)
        return [found[check] for check in checks]

    async def _result(self, check: Check) -> Result:
        client = self.client(self.target.account)
        reason, response = "", None
        try:
            async with asyncio.timeout(self.target.timeout_s):
                await check.run(client)
            return Result(check, Outcome.PASSED)
        except Skipped as skipped:
            return Result(check, Outcome.SKIPPED, str(skipped))
        except Failed as failed:
            reason, response = f"expected {failed}", failed.response
        except TimeoutError:
            reason = f"it did not end within {self.target.timeout_s:g} s"
        except httpx.HTTPError as error:
            reason = f"the connection failed: {_reason(error)}"
        except Exception as error:  # noqa: BLE001  a response that no check expects must not end the others
            reason = f"the response is not what the check can read: {type(error).__name__}"
        return _failed(check, reason, client, response)

    async def clean_up(self) -> int:
        """Delete all tasks that the checks have created, and return how many are left."""
        try:
            async with asyncio.timeout(CLEAN_UP_TIMEOUT_S):
                for account in self.target.accounts:
                    client = self.client(account)
                    ids = {task_id for each, task_id in self._made if each == account} | await self._marked(client)
                    for task_id in ids:
                        # What a broken server calls an id may not fit into a URL.
                        with contextlib.suppress(httpx.InvalidURL, ValueError):
                            await client.delete({"id": task_id})
                return sum([len(await self._marked(self.client(account))) for account in self.target.accounts])
        except (TimeoutError, httpx.HTTPError):
            return len(set(self._made))

    async def _marked(self, client: Client) -> set[str]:
        """Return the ids of the tasks in a user's list that the checks have created, as their titles and tags tell."""
        try:
            tasks = (await client.get(client.tasks)).json()
        except (ValueError, RecursionError):
            return set()
        listed = [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
        return {str(task.get("id")) for task in listed if self._is_marked(task)}

    def _is_marked(self, task: dict[str, object]) -> bool:
        tags = task.get("tags")
        texts = [task.get("title"), *(tags if isinstance(tags, list) else [])]
        return any(isinstance(text, str) and text.startswith(self.mark) for text in texts)


def _failed(check: Check, reason: str, client: Client, response: httpx.Response | None) -> Result:
    """Return the result of a check that failed because of *response*, or of the last request."""
    if response is None and not client.history:
        return Result(check, Outcome.FAILED, reason)
    exchange = client.history[-1] if response is None else Exchange(response.request, response)
    tokens = {each.token for each in (client.account, client.other_account) if each is not None}
    hidden = tokens | {secret for secret in client.secrets if len(secret) >= MIN_SECRET_LENGTH}
    return Result(check, Outcome.FAILED, reason, *shown(exchange, hidden))
