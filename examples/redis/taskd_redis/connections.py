"""Connect to Redis, and turn its errors into those of stores."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import attrs
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from taskd.storage import StoreError, StoreUnavailable
from taskd_redis.settings import RedisAddress

__all__ = ["CALL_TIMEOUT_S", "Connections", "raising_store_errors"]

CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 4.0
POOL_TIMEOUT_S = 3.0
# For a whole call: a store must respond within ten seconds.
CALL_TIMEOUT_S = 9.0
MAX_CONNECTIONS = 50
# An idle connection that may have been cut unnoticed is tested before it is used.
IDLE_S = 15
# What Redis says while it cannot serve, or must not write: it is loading, a replica, out of memory, cannot save, ...
UNAVAILABLE = ("LOADING", "READONLY", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN")


@attrs.define(eq=False)
class Connections:
    """
    A pool of connections for each event loop in which the store is used.

    A task keeps the pool open.  When asyncio cancels it at the end of the loop, it closes the connections, even if
    nobody has called `close`.
    """

    address: RedisAddress
    _clients: dict[asyncio.AbstractEventLoop, tuple[Redis, asyncio.Task[None]]] = attrs.field(
        init=False, repr=False, factory=dict
    )

    @property
    def client(self) -> Redis:
        """The client for the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = self._new_client()
            holder = loop.create_task(_hold(client, lambda: self._clients.pop(loop, None)), name="taskd: hold Redis")
            self._clients[loop] = client, holder
        client, _ = self._clients[loop]
        return client

    def _new_client(self) -> Redis:
        options = {**self.address.options}
        kind: type[Any] = SSLConnection if options.pop("ssl", False) else Connection
        if "unix_socket_path" in options:
            kind, options["path"] = UnixDomainSocketConnection, options.pop("unix_socket_path")
        pool = BlockingConnectionPool(
            MAX_CONNECTIONS,
            POOL_TIMEOUT_S,
            kind,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=REPLY_TIMEOUT_S,
            health_check_interval=IDLE_S,
            # Redis may have made a write whose reply was lost, so the client must not repeat it.
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        return Redis.from_pool(pool)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        _, holder = self._clients.get(asyncio.get_running_loop(), (None, None))
        if holder is not None:
            # It may not have started yet.
            await asyncio.sleep(0)
            holder.cancel()
            await asyncio.wait([holder])


async def _hold(client: Redis, forget: Callable[[], object]) -> None:
    """Keep *client* open until this task is cancelled."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        forget()
        await client.aclose()


@contextlib.contextmanager
def raising_store_errors() -> Iterator[None]:
    """Turn errors of Redis into `StoreUnavailable` or `StoreError`, whose messages contain nothing that was sent."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise StoreUnavailable(f"Redis cannot be reached: {type(error).__name__}") from None
    except exceptions.RedisError as error:
        code = _code(error)
        if code in UNAVAILABLE:
            raise StoreUnavailable(f"Redis responds with {code}") from None
        raise StoreError(f"Redis responds with {code}") from None


def _code(error: exceptions.RedisError) -> str:
    """Return the first word of an error, which says of which kind it is; redis-py removes some of them."""
    by_class: dict[type[Exception], str] = {
        exceptions.OutOfMemoryError: "OOM",
        exceptions.ReadOnlyError: "READONLY",
        exceptions.MasterDownError: "MASTERDOWN",
        exceptions.ClusterDownError: "CLUSTERDOWN",
        exceptions.TryAgainError: "TRYAGAIN",
    }
    known = next((code for kind, code in by_class.items() if isinstance(error, kind)), None)
    first, _, _ = str(error).partition(" ")
    return known or (first if first.isupper() and first.isalpha() else type(error).__name__)
