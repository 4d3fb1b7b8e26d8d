"""The hooks of the webhooks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from taskd import hookimpl
from taskd.settings import load_settings
from taskd.storage import StoreWrapper, TaskStore
from taskd_webhooks.outbox import Outbox
from taskd_webhooks.sender import Sender
from taskd_webhooks.settings import Settings
from taskd_webhooks.store import AnnouncingStore

__all__ = ["Webhooks"]


class Webhooks:
    """The plugin.  taskd makes an instance for each application."""

    def __init__(self) -> None:
        self.outbox = Outbox()

    @hookimpl
    def taskd_wrap_store(self, store: TaskStore, environ: Mapping[str, str]) -> StoreWrapper:
        # Wrong settings stop the start.
        load_settings(Settings, environ)
        return AnnouncingStore(store, self.outbox)

    @hookimpl
    @contextlib.asynccontextmanager
    async def taskd_lifespan(self, environ: Mapping[str, str]) -> AsyncIterator[None]:
        async with (
            Sender.opened(load_settings(Settings, environ)) as sender,
            self.outbox.delivered_by(sender.deliver),
        ):
            yield
