"""What a plugin can build on: the auth backends and stores of other plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from starlette.authentication import AuthenticationBackend

from taskd.storage import TaskStore

__all__ = ["Parts"]


class Parts(Protocol):
    """
    What other plugins make, for a plugin that combines or extends it.

    The other plugin is selected by its name, as if a setting named it: it is imported if it is installed and not
    disabled, it reads its own settings, its result is checked, and taskd closes it.  Each part is made once, so several
    plugins that ask for the same one share it.

    Each method raises a `taskd.PluginError` if there is no such part, or if two plugins ask for each other.
    """

    def auth(self, name: str) -> AuthenticationBackend:
        """Return the auth backend of the plugin *name*."""
        ...

    def security_schemes(self, name: str) -> Sequence[Mapping[str, object]]:
        """Return how clients send the credentials that the plugin *name* verifies; none if it does not say."""
        ...

    def store(self, name: str) -> TaskStore:
        """Return the store of the plugin *name*, without the wrappers that `TASKD_STORE_WRAPPERS` names."""
        ...
