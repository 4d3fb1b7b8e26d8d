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

    # Each with the time since when.
    _connections: dict[Stalled, float] = attrs.field(init=False, factory=dict)

    def add(self, connection: Stalled, since_s: float) -> None:
        """Add *connection*, whose client stopped reading at *since_s* by the loop's clock."""
        self._connections[connection] = since_s

    def remove(self, connection: Stalled) -> None:
        """Remove *connection*, if it is there: its client reads again, or has disconnected."""
        self._connections.pop(connection, None)

    def excess(self, max_bytes: int, patient_until_s: float, spared: Stalled) -> Iterator[Stalled]:
        """
        Yield the connections to cut off so that no more than *max_bytes* wait for all of them.

        Those that have stalled since before *patient_until_s* come first, and of these the ones with the most to send;
        *spared* and what would come after it are not cut off.
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
