"""
What tokens cost: the CPU time of a request with a good one, by each way it can be signed, and with a bad one.

It runs the whole application in this process, over SQLite, without a network, and prints ratios: machines differ, and
what is measured here in turns is measured under the same conditions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from jwt.utils import base64url_encode
from starlette.types import ASGIApp, Message

from taskd import build_app
from taskd.testing import lifespan

SECRET = "a secret for the benchmark, of more than 32 bytes"
ROUNDS, REQUESTS = 15, 100
OBJECTS = b".".join(map(base64url_encode, (b'{"alg":"EdDSA"}', b'{"a":[' + b"{}," * 1900, b"signature"))).decode()
KEYS: dict[str, Any] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
FORGED_KEYS: dict[str, Any] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}


@attrs.frozen
class Requests:
    """
    Requests with tokens of one kind.

    Attributes:
        status: How they must be answered.
        tokens: The tokens, one for each request.
    """

    name: str
    status: int
    tokens: Iterator[str]
    costs_us: list[float] = attrs.field(factory=list)


def signed(algorithm: str, key: Any = None, **claims: Any) -> str:
    """Return a token of Better Auth's shape for the user `bench`."""
    now_s = int(time.time())
    merged = {"sub": "bench", "email": "bench@example.com", "name": "B", "iat": now_s, "exp": now_s + 900, **claims}
    if algorithm == "HS256":
        return jwt.encode(merged, key or SECRET, algorithm)
    return jwt.encode(merged, key or KEYS[algorithm], algorithm, {"kid": algorithm})


def fresh(make: Callable[[int], str]) -> Iterator[str]:
    """Return tokens each of which is another: made beforehand, since making one is not to be measured."""
    return iter([make(number) for number in range(ROUNDS * REQUESTS)])


def key_set() -> bytes:
    """Return the public keys as Better Auth publishes them."""
    algorithms = get_default_algorithms()
    members = [
        {**algorithms[name].to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": name}
        for name, key in KEYS.items()
    ]
    return json.dumps({"keys": members}).encode()


def kinds(origin: str) -> list[Requests]:
    """Return what is measured, the first being what the others are compared with."""
    ours = {"iss": origin, "aud": origin}
    return [
        Requests("HS256, sent again", 200, itertools.repeat(signed("HS256"))),
        Requests("EdDSA, sent again", 200, itertools.repeat(signed("EdDSA", **ours))),
        Requests("HS256, sent for the first time", 200, fresh(lambda n: signed("HS256", jti=str(n)))),
        *[Requests(f"{name}, sent for the first time", 200, fresh(partial(numbered, name, ours))) for name in KEYS],
        Requests("another's HS256 secret", 401, fresh(lambda n: signed("HS256", SECRET[::-1], jti=str(n)))),
        *[Requests(f"another's {name} key", 401, fresh(partial(forged, name, ours))) for name in KEYS],
        Requests("an unknown kid", 401, fresh(partial(unknown, ours))),
        Requests("expired", 401, fresh(lambda n: signed("EdDSA", exp=n, **ours))),
        Requests("another audience", 401, fresh(lambda n: signed("EdDSA", aud=str(n), iss=origin))),
        Requests("a session token", 401, itertools.repeat("f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c")),
        Requests("8 KB of nothing", 401, itertools.repeat("a" * 8000)),
        Requests("8 KB of objects", 401, itertools.repeat(OBJECTS)),
        Requests("too long", 401, itertools.repeat("x" * 20_000)),
    ]


def numbered(algorithm: str, claims: dict[str, str], number: int) -> str:
    """Return a token that is another for each *number*."""
    return signed(algorithm, jti=str(number), **claims)


def forged(algorithm: str, claims: dict[str, str], number: int) -> str:
    """Return one that says it is signed with a key that it is not signed with."""
    return signed(algorithm, FORGED_KEYS[algorithm], jti=str(number), **claims)


def unknown(claims: dict[str, str], number: int) -> str:
    """Return one that is signed with a key that nobody has published."""
    merged = {"sub": "bench", "exp": time.time() + 900, **claims}
    return jwt.encode(merged, FORGED_KEYS["EdDSA"], "EdDSA", {"kid": f"k{number}"})


async def measure() -> list[Requests]:
    """Send all kinds of requests in turns."""
    async with await asyncio.start_server(_publish, "127.0.0.1", 0) as publisher:
        origin = f"http://127.0.0.1:{publisher.sockets[0].getsockname()[1]}"
        measured = kinds(origin)
        with tempfile.TemporaryDirectory() as folder:
            app = build_app(
                {
                    "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
                    "BETTER_AUTH_SECRET": SECRET,
                    "BETTER_AUTH_URL": origin,
                }
            )
            async with lifespan(app):
                for round_number, offset in itertools.product(range(ROUNDS), range(len(measured))):
                    # Each round begins with another: the place in the order must not count.
                    requests = measured[(round_number + offset) % len(measured)]
                    begun_s = time.process_time()
                    for token in itertools.islice(requests.tokens, REQUESTS):
                        assert requests.status == await get(app, token)
                    requests.costs_us.append((time.process_time() - begun_s) / REQUESTS * 1e6)
    return measured


async def _publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    document = key_set()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(document), document))
    await writer.drain()
    writer.close()


async def get(app: ASGIApp, token: str) -> int:
    """List the tasks of `bench` and return the status."""
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/bench/tasks",
        "raw_path": b"/api/bench/tasks",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"taskd"), (b"authorization", f"Bearer {token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return statuses[0]


def main() -> None:
    """Print a table."""
    measured = asyncio.run(measure())
    base_us = statistics.median(measured[0].costs_us)
    print(f"| GET with a token: {ROUNDS} x {REQUESTS} | answer | CPU, to the first |")
    print("| --- | --- | --- |")
    for requests in measured:
        ratios = [cost / base for cost, base in zip(requests.costs_us, measured[0].costs_us, strict=True)]
        print(f"| {requests.name} | {requests.status} | {statistics.median(ratios):.2f} |")
    print(f"\nThe first took {base_us:.0f} us.")


if __name__ == "__main__":
    main()
