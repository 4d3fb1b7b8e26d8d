"""Storage: tasks in Redis."""

from collections.abc import Mapping

from taskd import hookimpl
from taskd.settings import load_settings
from taskd_redis.connections import Connections
from taskd_redis.settings import RedisSettings
from taskd_redis.store import RedisStore


@hookimpl
def taskd_storage(environ: Mapping[str, str]) -> RedisStore:
    address = load_settings(RedisSettings, environ).address()
    return RedisStore(Connections(address))
