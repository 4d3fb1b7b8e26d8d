"""`taskd conformance`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import attrs
import click

from taskd.cli.commands import print_table
from taskd.conformance.section import Section
from taskd.urls import HTTPAddress

if TYPE_CHECKING:  # imports httpx, which serving does not need
    from taskd.conformance.client import Account
    from taskd.conformance.report import Report, Result
    from taskd.conformance.runner import Target

__all__ = ["conformance", "print_report"]

CANNOT_CHECK = 2
SECTIONS = {section.option: section for section in Section}
# A token, and what a header may contain: a scheme and a token, for example.
_TOKEN = re.compile("[!-~]+")
_VALUE = re.compile("[!-~]+(?: [!-~]+)*")
_SURROGATE = re.compile("[\ud800-\udfff]")


@attrs.frozen
class Options:
    """The options of the command."""

    token: str | None = attrs.field(repr=False)
    token_file: TextIO | None
    user: str | None
    other_token: str | None = attrs.field(repr=False)
    other_token_file: TextIO | None
    other_user: str | None
    header: str | None
    origin: str | None
    sections: Sequence[str]
    timeout_s: float
    as_json: bool

    def target(self, url: str) -> Target:
        """Return the server to check."""
        from taskd.conformance.runner import Target  # noqa: PLC0415  imports httpx

        address = HTTPAddress.parse(url)
        if address is None:
            example = "http://127.0.0.1:8000 or https://example.com/tasks"
            raise click.BadParameter(f"must be the address of a server, such as {example}", param_hint="URL")
        account = self._account("token", _given(self.token, self.token_file), self.user)
        if account is None:
            raise click.UsageError("A token is needed: set TASKD_TOKEN, or use --token-file.")
        other = self._account("other-token", _given(self.other_token, self.other_token_file), self.other_user)
        if other is not None and other.user == account.user:
            raise click.UsageError("The other token must be that of another user.")
        return Target(address.origin, account, other, self.origin, self.timeout_s, address.path.rstrip("/"))

    def _account(self, option: str, token: str | None, user: str | None) -> Account | None:
        from taskd.conformance.tokens import account_of, subject_of  # noqa: PLC0415  imports httpx

        if token is None:
            return None
        if self.header is None and not _TOKEN.fullmatch(token):
            hint = "use --header to send another scheme"
            raise click.UsageError(f"The value of --{option} must be visible ASCII characters without spaces: {hint}.")
        if not _VALUE.fullmatch(token):
            raise click.UsageError(f"The value of --{option} must be visible ASCII characters and single spaces.")
        owner = user or subject_of(token)
        if owner is not None and _SURROGATE.search(owner):
            raise click.UsageError("A user's id must be text in UTF-8.")
        if owner is None:
            name = option.replace("token", "user")
            raise click.UsageError(f"The value of --{option} does not say whose it is: use --{name}.")
        return account_of(token, owner, self.header)


def _given(token: str | None, file: TextIO | None) -> str | None:
    return file.read().strip() if file is not None else token


@click.command()
@click.argument("url")
@click.option("--token", envvar="TASKD_TOKEN", show_envvar=True, help="A token of the user to create tasks for.")
@click.option("--token-file", type=click.File(), help="The file with that token; - is stdin.")
@click.option("--user", help="The user's id, if the token does not say it.")
@click.option("--other-token", envvar="TASKD_OTHER_TOKEN", show_envvar=True, help="A token of another user.")
@click.option("--other-token-file", type=click.File(), help="The file with the other token.")
@click.option("--other-user", help="The other user's id, if the other token does not say it.")
@click.option("--header", metavar="NAME", help="The header whose whole value each token is.")
@click.option("--origin", help="An origin whose pages may call the server.")
@click.option(
    "--section", "sections", type=click.Choice(list(SECTIONS)), multiple=True,
    help="Check only this section of the contract; may be repeated.",
)  # fmt: skip
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1, 600), default=30, show_default=True, metavar="SECONDS",
    help="How long each check may take.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def conformance(url: str, **options: Any) -> None:
    """
    Check whether the server at URL keeps taskd's HTTP contract, whatever it is written in.

    The checks create tasks, and delete them at the end; they change no other tasks.  Put tokens into a file or into the
    environment: other users of this machine can see the command line.  The exit status is 1 if a check fails, and 2 if
    the server cannot be checked.
    """
    given = Options(**options)
    report = _report(given.target(url), [SECTIONS[name] for name in given.sections] or list(Section))
    if given.as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        print_report(report)
    if report.failures:
        sys.exit(1)


def _report(target: Target, sections: Sequence[Section]) -> Report:
    from taskd.conformance.runner import Unusable, run  # noqa: PLC0415  imports httpx
    from taskd.conformance.sections import all_checks  # noqa: PLC0415

    try:
        return asyncio.run(run(target, [check for check in all_checks() if check.section in sections]))
    except Unusable as error:
        _give_up(str(error))


def _give_up(reason: str) -> NoReturn:
    click.echo(f"taskd: {_one_line(reason)}", err=True)
    sys.exit(CANNOT_CHECK)


def print_report(report: Report) -> None:
    """Print how many checks of each section passed, and what failed."""
    from taskd.conformance.report import Outcome  # noqa: PLC0415  imports httpx

    rows = [(section.value, *(str(counts[each]) for each in Outcome)) for section, counts in report.counts().items()]
    print_table([("section", *(each.value for each in Outcome)), *rows])
    for (section, reason), count in report.skipped().items():
        click.echo(f"\n{section.value}: {count} skipped: {reason}")
    for failure in report.failures:
        click.echo()
        _print_failure(failure)
    if report.leftovers:
        tasks = "1 task" if report.leftovers == 1 else f"{report.leftovers} tasks"
        click.echo(f"\nNot deleted: {tasks}, with a title that begins with {report.mark!r}.", err=True)


def _print_failure(result: Result) -> None:
    """Print which promise is broken, what was sent, and what came back."""
    click.echo(f"{result.check.section.value}: {result.check.promise}")
    click.echo(f"  {_one_line(result.reason)}")
    for what, message in (("request", result.request), ("response", result.response)):
        if message is not None:
            click.echo(f"  {what:8}  {message.start}")
            headers = [f"{name}: {value}" for name, value in message.headers.items()]
            for line in filter(None, [*headers, message.body]):
                click.echo(f"            {_one_line(line)}")


def _one_line(text: str) -> str:
    """Return *text* with escapes for what would move the cursor of a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
