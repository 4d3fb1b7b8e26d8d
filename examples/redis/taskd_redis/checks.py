"""Check whether Redis keeps what it has acknowledged, for `taskd doctor`."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from taskd.checks import Check, Outcome
from taskd.storage import StoreError
from taskd_redis.connections import Connections, raising_store_errors

__all__ = ["check_redis"]

# The oldest version that the plugin is tested with.
TESTED = 7
LOSES = "a crash of the machine may lose what was written in the last two seconds"


async def check_redis(connections: Connections) -> AsyncIterator[Check]:
    """Yield the checks, in order of dependency."""
    try:
        with raising_store_errors():
            info = await connections.client.info()
    except StoreError as error:
        yield Check("Redis", Outcome.FAILED, str(error), "Check REDIS_URL, and whether Redis is running.")
        return
    yield _version(info, connections.address.description)
    yield await _durability(info, connections)
    yield _eviction(info)


def _version(info: Mapping[str, Any], address: str) -> Check:
    version = str(info["redis_version"])
    finding = f"version {version}, {address}"
    if int(version.partition(".")[0]) < TESTED:
        return Check("Redis", Outcome.NOTE, finding, f"Upgrade Redis: version {TESTED} is the oldest that is tested.")
    return Check("Redis", Outcome.OK, finding)


async def _durability(info: Mapping[str, Any], connections: Connections) -> Check:
    """Check that writes are in the append-only file before they are acknowledged."""
    if not info["aof_enabled"]:
        finding = "there is no append-only file: a crash loses what was written since the last snapshot"
        return Check("durability", Outcome.FAILED, finding, "Set appendonly yes and appendfsync always.")
    try:
        policy = (await connections.client.config_get("appendfsync"))["appendfsync"]
    except RedisError:
        # Some services do not allow it.
        finding = "there is an append-only file, but Redis does not say when it is synchronized"
        return Check("durability", Outcome.NOT_CHECKED, finding, "Make sure that appendfsync is always.")
    if policy == "always":
        return Check("durability", Outcome.OK, "acknowledged writes survive a crash")
    outcome = Outcome.NOTE if policy == "everysec" else Outcome.FAILED
    return Check("durability", outcome, f"appendfsync is {policy}: {LOSES}", "Set appendfsync always.")


def _eviction(info: Mapping[str, Any]) -> Check:
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        finding = f"maxmemory-policy is {policy}: when memory is full, Redis deletes tasks or idempotency keys"
        return Check("eviction", Outcome.FAILED, finding, "Set maxmemory-policy noeviction.")
    return Check("eviction", Outcome.OK, "when memory is full, writes are refused, and nothing is deleted")
