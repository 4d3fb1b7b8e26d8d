"""Check the documentation site: each public name is in the reference, and no page loads anything from other hosts."""

from __future__ import annotations

import importlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).parent.parent
SITE = REPOSITORY / "site"
# Browsers do not load the targets of these links.
NOT_LOADED = {"canonical", "next", "prev"}


class Page(HTMLParser):
    """The ids on a page, and the URLs of what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the id of a tag and the URLs that it loads."""
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag != "a" and given.get("rel") not in NOT_LOADED:
            self.loads += [given[name] for name in ("src", "href") if name in given]


def public_names() -> set[str]:
    """Return the full names of everything public in the modules that the reference covers."""
    modules = re.findall(r"(?m)^::: (\S+)$", (REPOSITORY / "docs" / "reference" / "api.md").read_text())
    return {f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__}


def problems() -> list[str]:
    """Return what is wrong, one line per problem."""
    missing = public_names() - Page(SITE / "reference" / "api" / "index.html").ids
    foreign = [(path, url) for path in SITE.rglob("*.html") for url in Page(path).loads if urlsplit(url).netloc]
    return [
        *(f"{name} is not in the reference" for name in sorted(missing)),
        *(f"{path} loads {url}" for path, url in foreign),
    ]


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
