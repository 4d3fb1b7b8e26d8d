"""The core does not mention SQL or JSON Web Tokens, not even by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import taskd

CORE = Path(taskd.__file__).parent
# What only plugins may mention, in any case.
WORDS = re.compile(
    r"bearer|jwt|jwks|json web|hs256|rfc 6750|oauth|better[ _-]?auth|database_url|sql|postgres|neon|pgbouncer|asyncpg"
    r"|alembic",
    re.IGNORECASE,
)
# The names of the default plugins, and an option that is older than this rule.
ALLOWED = ('auth: str = environ_config.var("jwt"', 'storage: str = environ_config.var("sql"', '"--sql"')
# What clients send and get unless an auth plugin says otherwise; nothing that serves imports these.
OF_CLIENTS = {
    CORE / "conformance" / "tokens.py",
    CORE / "conformance" / "sections" / "tokens.py",
    CORE / "testing" / "auth" / "refusals.py",
}
SUFFIXES = (".py", ".md", ".jinja", ".yml")
FILES = sorted(path for path in {*CORE.rglob("*")} - OF_CLIENTS if path.suffix in SUFFIXES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_does_not_mention_what_plugins_use(path: Path) -> None:
    """Names, texts and comments in the core apply to every auth and every storage plugin."""
    text = path.read_text(encoding="utf-8")
    for allowed in ALLOWED:
        text = text.replace(allowed, "")

    assert [] == [line for line in text.splitlines() if WORDS.search(line)]


def test_the_core_is_searched() -> None:
    """The files include its modules, the introduction of the API document, and the templates."""
    modules = {"application.py", "dev.py", "middleware.py"}
    assert modules | {"introduction.md", "ci.yml", "plugin.py.jinja"} <= {path.name for path in FILES}
