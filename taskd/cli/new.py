"""`taskd new`."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import attrs
import click

from taskd.plugins.finder import DISTRIBUTION, GROUP, ON_DEMAND, find
from taskd.settings import Settings, load_settings
from taskd.version import __version__

__all__ = ["new"]

TEMPLATES = Path(__file__).parent.parent / "templates"
# The folders beside the package: the tests, and what building leaves, which git ignores.
TAKEN = ("tests", "build", "dist")


@attrs.frozen
class Kind:
    """
    A kind of plugin that there is a template for.

    Attributes:
        summary: What such a distribution is, for its description.
        setting: The setting that selects the plugin; empty if plugins of this kind serve without being selected.
    """

    summary: str
    setting: str = ""


KINDS = {
    "auth": Kind("An auth plugin for taskd", "TASKD_AUTH"),
    "routes": Kind("Routes for taskd"),
    "store": Kind("A storage plugin for taskd", "TASKD_STORAGE"),
    "wrapper": Kind("A store wrapper for taskd", "TASKD_STORE_WRAPPERS"),
}


@click.command()
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.argument("name")
def new(kind: str, name: str) -> None:
    """
    Make the distribution NAME, with a new plugin, in a folder of that name.

    The tests in it fail until the plugin is written, and say what to write.  The plugin has the name of the
    distribution, without "taskd-" at the beginning or "-taskd" at the end.
    """
    try:
        project = Project.named(name, kind)
        project.check_unused()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    project.write()
    click.echo(project.announcement)


@attrs.frozen
class Project:
    """
    A distribution with one plugin.

    Attributes:
        distribution: Its name, and that of its folder.
        package: The package that it contains.
        plugin: The name by which settings select the plugin.
        kind: A key of `KINDS`.
    """

    distribution: str
    package: str
    plugin: str
    kind: str

    @classmethod
    def named(cls, name: str, kind: str) -> Project:
        """
        Derive all names from the distribution's.

        Raises:
            ValueError: There can be no such distribution or package.
        """
        normalized = re.sub("[-_.]+", "-", name).lower()
        if not (name.isascii() and re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", normalized)):
            raise ValueError(f"{name!r} is not a valid name for a distribution: use letters, digits and hyphens")
        package = normalized.replace("-", "_")
        if not package.isidentifier() or keyword.iskeyword(package) or package in TAKEN:
            raise ValueError(f"{package!r} cannot be the name of a package: try taskd-{normalized}")
        return cls(normalized, package, re.sub("^taskd-|-taskd$", "", normalized), kind)

    def check_unused(self) -> None:
        """
        Refuse names that would clash with what is installed.

        Raises:
            ValueError: A name is in use.
        """
        if _is_installed(self.distribution):
            raise ValueError(f"a distribution {self.distribution!r} is installed: choose another name, or uninstall it")
        if importlib.util.find_spec(self.package) is not None:
            raise ValueError(f"a package {self.package!r} can be imported already: choose another name")
        for plugin in find(load_settings(Settings, {})).plugins:
            if plugin.name == self.plugin:
                raise ValueError(f"{plugin} exists already: choose another name")

    def write(self) -> None:
        """Render the templates into a new folder, below the current one."""
        try:
            from copier import run_copy  # noqa: PLC0415  it is optional, and takes long to import
        except ImportError:
            sys.exit("taskd: `taskd new` needs copier: run pip install 'taskd-server[new]'")
        folder = Path(self.distribution)
        try:
            folder.mkdir()
        except FileExistsError:
            sys.exit(f"taskd: {folder} exists, and nothing is overwritten: choose another name, or remove it")
        for part in ("common", self.kind):
            run_copy(str(TEMPLATES), folder, data={**self._data, "folder": part}, defaults=True, quiet=True)

    @property
    def _data(self) -> dict[str, str]:
        """What the templates can refer to."""
        kind = KINDS[self.kind]
        minor = ".".join(__version__.split(".")[:2])
        group = f'"{ON_DEMAND}"' if kind.setting else GROUP
        method = f"read_{self.plugin.replace('-', '_')}"
        own = {"summary": kind.summary, "setting": kind.setting, "group": group, "method": method}
        return {**attrs.asdict(self), **own, "requirement": f"{DISTRIBUTION}>={minor}"}

    @property
    def announcement(self) -> str:
        """What to do next."""
        return f"""\
Made the plugin {self.plugin}, in {self.distribution}/{self.package}/plugin.py. Its tests say what to write:

  cd {self.distribution}
  pip install -e '.[test]'
  pytest"""


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
