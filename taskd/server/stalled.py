"""Limit the memory for responses that clients do not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs

__all__ = ["StalledConnections"]


class Stalled(Protocol):
    """A connection whose client does not read its response."""

    @property
    def unsent_bytes(self) -> int:
        """How much of the response is still unsent."""
        ...

    def cut_off(self, why: str) -> None:
        """Reset the connection."""
        ...


@attrs.frozen(eq=False)
class StalledConnections:
    """The connections of a server whose clients do not read their responses."""

    # Each connection, with the time since which it has been stalled.
    _connections: dict[Stalled, float] = attrs.field(init=False, factory=dict)

    def add(self, connection: Stalled, since_s: float) -> None:
        """Add *connection*, whose client stopped reading at *since_s* by the loop's clock."""
        self._connections[connection] = since_s

    def remove(self, connection: Stalled) -> None:
        """Remove *connection*, if it is there: its client is reading again, or has disconnected."""
        self._connections.pop(connection, None)

    def excess(self, max_bytes: int, patient_until_s: float, spared: Stalled) -> Iterator[Stalled]:
        """
        Yield the connections to cut off so that at most *max_bytes* remain unsent on all of them together.

        Those that have been stalled since before *patient_until_s* come first, and within each group those with the
        most unsent data; *spared* and any that would come after it are not cut off.
        """
        sizes = {connection: connection.unsent_bytes for connection in self._connections}
        excess = sum(sizes.values()) - max_bytes
        if excess <= 0:
            return
        worst_first = sorted(sizes, key=lambda each: (self._connections[each] > patient_until_s, -sizes[each]))
        for worst in worst_first:
            if excess <= 0 or worst is spared:
                return
            excess -= sizes[worst]
            yield worst
