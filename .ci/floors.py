"""Install taskd and the requirements of its tests, with the oldest versions that pyproject.toml allows."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parent.parent


def oldest(requirement: Requirement) -> str:
    """Return *requirement* pinned to its lower bound."""
    [floor] = [bound.version for bound in requirement.specifier if bound.operator in (">=", "==")]
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={floor}"


def floors() -> list[str]:
    """Return what pyproject.toml requires for this interpreter, each requirement pinned to its oldest version."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = [Requirement(each) for each in project["dependencies"]]
    return [oldest(each) for each in requirements if each.marker is None or each.marker.evaluate()]


def main() -> None:
    """Install everything at once, so that pip chooses versions of the tests' dependencies that fit ours."""
    wanted = floors()
    print("\n".join(wanted), flush=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *wanted, "--editable", f"{REPOSITORY}[test]"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "check"], check=True)


if __name__ == "__main__":
    main()
