"""
Look settings up, in environment variables or in the files that these name.

Which names are read is recorded, to find those that look like typos.
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import attrs

from taskd.setting_files import FILE, SettingsError, shown_path, text_in

__all__ = ["Declaration", "Environ", "Origin", "Place"]

PREFIX = "TASKD_"
# Kubernetes sets these in all containers if there is a service called taskd, or something that begins with taskd.
KUBERNETES = re.compile(r"TASKD(_\w+)?_(SERVICE_(HOST|PORT)|PORT)(_\w+)?", re.ASCII)
# How similar a name must be to a known one, as measured by `difflib`.  Names without our prefix may belong to other
# programs.
ALIKE, ALIKE_WITHOUT_PREFIX = 0.75, 0.9


class Place(enum.Enum):
    """Where values can be."""

    ENVIRONMENT = "environment"
    DOTENV = ".env"
    FILE = "file"


@attrs.frozen
class Origin:
    """
    Where the value of a setting is from.

    Attributes:
        place: What kind of place it is.
        path: The file; None if it is the environment, or if what should be the name of a file may be a secret.
    """

    place: Place
    path: str | None = None


@attrs.frozen
class Declaration:
    """
    What is known of a setting that a part has declared.

    Attributes:
        default: The value if it is not set; None if there is none.
        is_shown: Whether its value may be shown: it is known to contain no secret.
    """

    default: str | None
    is_shown: bool = False


@attrs.frozen(eq=False)
class Environ(Mapping[str, str]):
    """
    Environment variables, without those whose value is empty.

    If `NAME_FILE` is set, the value of `NAME` is the text in that file, whichever name is looked up.

    It remembers which names were read, and so knows the settings of all parts, including those of third-party plugins,
    although nobody declares them.  Code that iterates over all names, as `dict(environ)` does, does not count as
    reading them.

    Attributes:
        file: The file from which some of them were read, if there is one.
        declared: What parts have declared, by the names of settings.
    """

    _values: Mapping[str, str] = attrs.field(repr=False)
    file: Path | None = attrs.field(default=None, kw_only=True)
    # The names that were read from that file.
    _in_file: Container[str] = attrs.field(default=(), kw_only=True, repr=False)
    # The names as iteration yields them: new string objects, so that a name from elsewhere is a different object.
    _given: Mapping[str, str] = attrs.field(init=False, repr=False)
    _asked: set[str] = attrs.field(factory=set)
    # Who reads at the moment: the last one, for which the others wait.
    _readers: list[set[str]] = attrs.field(factory=list, repr=False)
    # What has been read from files, by the name of the setting.
    _texts: dict[str, str] = attrs.field(factory=dict, repr=False)
    declared: dict[str, Declaration] = attrs.field(factory=dict, repr=False)

    @_given.default
    def _copies(self) -> Mapping[str, str]:
        return {name: "".join([name[:1], name[1:]]) for name in self._values}

    @classmethod
    def of(cls, environ: Mapping[str, str], file: Path | None = None, in_file: Container[str] = ()) -> Environ:
        """Convert *environ* to an `Environ`, unless it is one already; the names *in_file* were read from *file*."""
        if isinstance(environ, cls):
            return environ
        return cls({name: value for name, value in environ.items() if value}, file=file, in_file=in_file)

    def __getitem__(self, name: str) -> str:
        """
        Return the value of *name*, and remember that it was read, unless *name* comes from iteration.

        Raises:
            SettingsError: The file that `NAME_FILE` names cannot be used, or `NAME` is set as well.
        """
        if self._given.get(name) is name:
            return self._values[name]
        self._asked.add(name)
        if self._readers:
            self._readers[-1].add(name)
        return self._text(name) if name + FILE in self._values else self._values[name]

    def _text(self, name: str) -> str:
        """Return the text in the file that `NAME_FILE` names."""
        variable = name + FILE
        self._asked.add(variable)
        if name in self._values:
            raise SettingsError(variable, f"is set, and so is {name}: remove one of them")
        if name not in self._texts:
            self._texts[name] = text_in(self._values[variable], variable)
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        """Yield all names."""
        return iter(self._given.values())

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self._values)

    def completed(self, defaults: Mapping[str, str]) -> Environ:
        """Return this environment with *defaults* for names that are not set; both share one record of names read."""
        added = {name: value for name, value in defaults.items() if not self._is_set(name)}
        return attrs.evolve(self, values={**added, **self._values})

    def origin(self, name: str) -> Origin | None:
        """Return where the value of *name* is from; None if it is not set."""
        if name in self._values:
            is_in_file = name in self._in_file
            return Origin(Place.DOTENV, str(self.file)) if is_in_file else Origin(Place.ENVIRONMENT)
        path = self._values.get(name + FILE)
        return None if path is None else Origin(Place.FILE, shown_path(path))

    def _is_set(self, name: str) -> bool:
        """Tell whether *name* has a value, without reading it."""
        return name in self._values or name + FILE in self._values

    @contextlib.contextmanager
    def recording(self, names: set[str]) -> Iterator[None]:
        """Add to *names* those that are read in the block, except for what an inner block records."""
        self._readers.append(names)
        try:
            yield
        finally:
            self._readers.pop()

    def unread(self) -> dict[str, str | None]:
        """
        Return the names that no part has read, each with the known name that it resembles, if there is one.

        Names that resemble no known name are included if they begin with `TASKD_`.  Call this once all parts have read
        their settings.
        """
        found = {name: self._like(name) for name in sorted(set(self._values) - self._asked)}
        return {name: meant for name, meant in found.items() if meant or name.startswith(PREFIX)}

    def mistakes(self) -> list[str]:
        """Return a line for each name that looks like a typo."""
        return [
            f"{name} is set, and nothing reads it: did you mean {meant}?"
            for name, meant in self.unread().items()
            if meant
        ]

    def unknown(self) -> list[str]:
        """
        Return a line for each name that begins with `TASKD_`, resembles no known one, and was not set by Kubernetes.

        It may belong to a disabled plugin.  Call this once all parts have read their settings.
        """
        names = [name for name, meant in self.unread().items() if not meant and not KUBERNETES.fullmatch(name)]
        return [f"{name} is set, and nothing reads it" for name in names]

    def _like(self, name: str) -> str | None:
        """
        Return the known name that is most similar to *name*, if any is similar enough.

        If *name* does not begin with `TASKD_`, it may belong to another program, so it must very closely resemble a
        known name that is not set.  If it ends in `_FILE`, it may stand for any setting.
        """
        has_prefix = name.startswith(PREFIX)
        known = [
            other
            for other in sorted(self._asked)
            if has_prefix or not (other.startswith(PREFIX) or self._is_set(other))
        ]
        if name.endswith(FILE):
            known += [other + FILE for other in known if not other.endswith(FILE)]
        shortened = {other.removeprefix(PREFIX): other for other in known}
        least = ALIKE if has_prefix else ALIKE_WITHOUT_PREFIX
        found = difflib.get_close_matches(name.removeprefix(PREFIX), shortened, 1, least)
        return shortened[found[0]] if found else None
