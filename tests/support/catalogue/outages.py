"""What a correct backend and a correct store have in common: both depend on a server that may be down."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

__all__ = ["MayBeDown"]


class MayBeDown:
    """Depends on a server that is down during `outage`."""

    is_down = False

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False
