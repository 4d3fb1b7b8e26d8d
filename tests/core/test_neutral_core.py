"""The core knows neither SQL nor JSON Web Tokens, not even by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import taskd

CORE = Path(taskd.__file__).parent
# What only a plugin may mention, in any case.
WORDS = re.compile(
    r"bearer|jwt|jwks|json web|hs256|rfc 6750|oauth|better[ _-]?auth|database_url|sql|postgres|neon|pgbouncer|asyncpg"
    r"|alembic",
    re.IGNORECASE,
)
# The plugins that serve unless another one is selected, and an option that is older than this rule.
ALLOWED = ('auth: str = environ_config.var("jwt"', 'storage: str = environ_config.var("sql"', '"--sql"')
FILES = sorted(path for path in CORE.rglob("*") if path.suffix in (".py", ".md"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_mentions_no_plugin_s_subject(path: Path) -> None:
    """Names, texts and comments in the core hold for every auth and every storage plugin."""
    text = path.read_text(encoding="utf-8")
    for allowed in ALLOWED:
        text = text.replace(allowed, "")

    assert [] == [line for line in text.splitlines() if WORDS.search(line)]


def test_the_core_is_read() -> None:
    """Its modules and the introduction of the API document are among the files."""
    assert {"application.py", "introduction.md", "dev.py", "middleware.py"} <= {path.name for path in FILES}
