"""
Create each mutant in `tests/mutants.toml` in a copy of the product, and check that the tests listed with it fail.

The exit status is 1 if a mutant survives or cannot be created.  One that cannot be created must be adapted to the
current code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
MUTANTS = ROOT / "tests" / "mutants.toml"
# Everything in the repository that tests read.
COPIED = ("taskd", "plugins", "tests", "benchmarks", "examples", "docs", "setup.cfg", "schema.sql", "README.md")
TIMEOUT_S = 600
# Exit codes of pytest.
PASSED, FAILED = 0, 1


@attrs.frozen
class Mutant:
    """
    A bug that tests must find.

    Attributes:
        fault: What is wrong with the mutant.
        file: The file in which *old* is replaced with *new*.
        tests: The tests to run.
    """

    fault: str
    file: str
    old: str
    new: str
    tests: list[str]

    @classmethod
    def all(cls) -> list[Mutant]:
        """Return the mutants in `tests/mutants.toml`."""
        return [cls(**each) for each in tomllib.loads(MUTANTS.read_text())["mutant"]]

    def obstacle(self) -> str | None:
        """Return why the mutant cannot be created; None if it can."""
        file = ROOT / self.file
        if not file.exists():
            return f"there is no {self.file}"
        if (count := file.read_text().count(self.old)) != 1:
            return f"{self.file} has the text {count} times instead of once: {self.old!r}"
        return None

    def make(self, folder: Path) -> None:
        """Create the mutant in *folder*."""
        file = folder / self.file
        file.write_text(file.read_text().replace(self.old, self.new))

    def complaint(self) -> str | None:
        """Return None if the mutant is killed, or else how it survives or why it cannot be created."""
        if obstacle := self.obstacle():
            return obstacle
        with tempfile.TemporaryDirectory(prefix="taskd-mutant-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            copy_to(folder)
            self.make(folder)
            try:
                done = run(folder, self.tests)
            except subprocess.TimeoutExpired:
                return f"its tests do not end within {TIMEOUT_S} s"
        if done.returncode == FAILED:
            return None
        return "it survives" if done.returncode == PASSED else f"the tests were not run:\n{done.stdout}"


def copy_to(folder: Path) -> None:
    """Copy the product and its tests to *folder*."""
    for each in COPIED:
        copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy
        copy(ROOT / each, folder / each)


def run(folder: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run *tests* on the copy in *folder*."""
    # The copy must come before the installed package.
    path = os.pathsep.join(str(folder / each) for each in (".", "plugins"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--authors", "--processes", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def check_tests(mutants: Iterable[Mutant]) -> None:
    """Exit unless the tests of all *mutants* pass without a mutant: a test that always fails proves nothing."""
    with tempfile.TemporaryDirectory(prefix="taskd-mutant-", ignore_cleanup_errors=True) as name:
        copy_to(Path(name))
        done = run(Path(name), dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    if done.returncode != PASSED:
        sys.exit(f"the tests fail even without a mutant:\n{done.stdout}")


def main() -> None:
    """Run all mutants, or those whose faults contain a given text."""
    parser = argparse.ArgumentParser(description="Check that the tests find the bugs in tests/mutants.toml.")
    parser.add_argument("text", nargs="?", default="", help="only run the mutants whose descriptions contain this")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in Mutant.all() if arguments.text in mutant.fault]
    check_tests(chosen)
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for mutant, complaint in zip(chosen, threads.map(Mutant.complaint, chosen), strict=True):
            print(f"{'killed' if complaint is None else 'ALIVE '}  {mutant.fault}", flush=True)
            if complaint is not None:
                survivors += 1
                print(f"        {complaint}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants are killed")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
