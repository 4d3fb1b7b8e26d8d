"""The hook and the settings of the cache."""

from __future__ import annotations

import re
from collections.abc import Mapping

import environ as environ_config

from taskd import hookimpl
from taskd.settings import SettingsError, load_settings, seconds
from taskd.storage import StoreWrapper, TaskStore
from taskd_cache.store import CachingStore

__all__ = ["taskd_wrap_store"]

MIB = "TASKD_CACHE_MIB"
TRUST = "TASKD_CACHE_TRUST"


def _mebibytes(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,5}", text, re.ASCII):
        raise SettingsError(MIB, "must be a number of mebibytes from 1 to 999999")
    return int(text)


@environ_config.config(prefix="", frozen=True)
class Settings:
    mib: int = environ_config.var("64", name=MIB, converter=_mebibytes, help="How much memory each process may use.")
    trust_s: float = environ_config.var(
        "0",
        name=TRUST,
        converter=seconds(TRUST, least=0),
        help="For how many seconds other processes' changes may go unseen; 0 asks the store each time.",
    )


@hookimpl
def taskd_wrap_store(store: TaskStore, environ: Mapping[str, str]) -> StoreWrapper:
    settings = load_settings(Settings, environ)
    return CachingStore(store, settings.mib * 1024 * 1024, settings.trust_s)
