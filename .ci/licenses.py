"""
List the licenses of what taskd and its extras install, and fail if one of them is unknown or not allowed.

Run this with a Python in which taskd is installed with all extras that are for its users.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "taskd-server"
# What only people who change taskd install.
OF_DEVELOPERS = {"docs", "lint", "test"}
# Licenses that ask no more of those who pass on a program than to keep notices, or to publish changes to the files that
# are under the license (MPL-2.0).
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Unlicense",
}
# Distributions with another license, and why they may be used nevertheless.
EXCEPTIONS = {
    "jinja2-ansible-filters": "copier needs it, which only `taskd new` runs; nothing that serves imports it (GPL-3.0)",
}
# How metadata without SPDX expressions names licenses.
NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd license": "BSD",
    "gpl3": "GPL-3.0",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}


def license_of(found: Distribution) -> str:
    """Return the license of a distribution as an SPDX expression, or as its authors write it; empty if unknown."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    text = (about.get("License") or "").strip()
    # Some put the whole text there.
    if text and len(text) < 40 and "\n" not in text:
        return NAMES.get(text.lower(), text)
    classified = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License")
    ]
    return " OR ".join(NAMES.get(name.lower(), name) for name in classified)


def is_allowed(expression: str) -> bool:
    """Tell whether a license expression leaves a choice that is allowed."""
    return any(
        all(part.strip("() ") in ALLOWED for part in re.split(r"\s+AND\s+", choice))
        for choice in re.split(r"\s+OR\s+", expression)
    )


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[Distribution]:
    """Yield the distribution called *name*, and all that it needs with these *extras*."""
    key = canonicalize_name(name), extras
    if key in seen:
        return
    seen.add(key)
    found = distribution(name)
    yield found
    for line in found.requires or ():
        requirement = Requirement(line)
        contexts = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker is None or any(requirement.marker.evaluate(context) for context in contexts):
            yield from needed(requirement.name, frozenset(requirement.extras), seen)


def main() -> None:
    """Print a line for each distribution; exit with status 1 if a license is unknown or not allowed."""
    offered = set(distribution(NAME).metadata.get_all("Provides-Extra") or ())
    extras = frozenset(offered - OF_DEVELOPERS)
    try:
        found = {canonicalize_name(each.name): each for each in needed(NAME, extras, set())}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed: install {NAME}[{','.join(sorted(extras))}]")
    del found[canonicalize_name(NAME)]
    refused = []
    for name, each in sorted(found.items()):
        license_ = license_of(each)
        is_fine = name in EXCEPTIONS or is_allowed(license_)
        print(f"{name:30} {each.version:12} {license_ or 'unknown'}{'' if is_fine else '  <- not allowed'}")
        if not is_fine:
            refused.append(name)
    if refused:
        sys.exit(f"Look at the licenses of {', '.join(refused)}, and add what may be used to .ci/licenses.py.")
    print(f"{len(found)} distributions, all under licenses that are allowed.")


if __name__ == "__main__":
    main()
