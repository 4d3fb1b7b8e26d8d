"""The hooks and settings of the audit log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import environ as environ_config

from taskd import hookimpl
from taskd.checks import Check, Outcome
from taskd.settings import load_settings
from taskd.storage import StoreWrapper, TaskStore
from taskd_audit.log import AuditLog
from taskd_audit.store import AuditStore

__all__ = ["Audit"]


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


@environ_config.config(prefix="TASKD_AUDIT", frozen=True)
class Settings:
    file: Path | None = environ_config.var(None, converter=_path, help="Where to append; by default, the server's log.")


class Audit:
    """The plugin.  taskd makes an instance for each application."""

    log: AuditLog | None = None

    @hookimpl
    def taskd_wrap_store(self, store: TaskStore, environ: Mapping[str, str]) -> StoreWrapper:
        self.log = AuditLog(load_settings(Settings, environ).file)
        return AuditStore(store, self.log)

    @hookimpl
    @contextlib.asynccontextmanager
    async def taskd_lifespan(self) -> AsyncIterator[None]:
        # A server that cannot write its audit log does not start.
        if self.log is not None:
            await self.log.open()
        yield

    @hookimpl
    async def taskd_checks(self, environ: Mapping[str, str]) -> AsyncIterator[Check]:
        file = load_settings(Settings, environ).file
        if file is None:
            yield Check("audit log", Outcome.OK, "goes to the logger taskd.audit")
        elif os.access(file if file.exists() else file.absolute().parent, os.W_OK):
            yield Check("audit log", Outcome.OK, f"can be written to {file}")
        else:
            remedy = "Let taskd write there, or set TASKD_AUDIT_FILE to another file."
            yield Check("audit log", Outcome.FAILED, f"{file} cannot be written", remedy)
