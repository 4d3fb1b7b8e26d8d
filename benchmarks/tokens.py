"""
Measure what tokens cost: the CPU time of a request with a valid token, for each way to sign it, or an invalid token.

The whole application runs in this process, over SQLite and without a network.  The results are ratios, because machines
differ; all kinds of tokens are measured in turns, and so under the same conditions.

The exit status is 1 if a token costs more than taskd promises.  A token in the token cache costs the same, however it
was signed.  An invalid token costs no more than a valid one that is sent again or, if only its signature shows that it
is invalid, no more than a valid one that is sent for the first time.
"""

from __future__ import annotations

import asyncio
import decimal
import itertools
import json
import math
import random
import statistics
import sys
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
ROUNDS = 1000
# Machines are so noisy that a single measurement proves nothing.
ATTEMPTS = 2
KINDS = ("EdDSA", "ES256", "ES512", "RS256", "PS256")
AGAIN, AGAIN_BY_KEY = "HS256, sent again", "EdDSA, sent again"


def new_key(algorithm: str) -> Any:
    """Return a private key."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in ("ES256", "ES512"):
        return ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP521R1())
    return rsa.generate_private_key(65537, 2048)


KEYS = {name: new_key(name) for name in KINDS}
FORGED_KEYS = {name: new_key(name) for name in KINDS}


@attrs.frozen
class Requests:
    """
    Requests with tokens of one kind.

    Attributes:
        status: The expected status.  A 503 is accepted, too, if the server cannot tell whether the tokens are good.
        tokens: The tokens, one for each request.
        baseline: The name of the kind that they are compared with.
        at_most: The most that they may cost, as a multiple of that kind's cost.
    """

    name: str
    status: int
    tokens: Iterator[str]
    baseline: str = AGAIN
    at_most: float = float("inf")
    may_be_good: bool = False
    costs_us: list[float] = attrs.field(factory=list)

    async def measure(self, app: ASGIApp) -> None:
        """Send one request and record its cost."""
        token = next(self.tokens)
        begun_s = time.process_time()
        status = await get(app, token)
        self.costs_us.append((time.process_time() - begun_s) * 1e6)
        assert self.status == status or (status == 503 and self.may_be_good)

    @property
    def cost_us(self) -> float:
        """The cost of one request: the median, since any request may have been interrupted."""
        return statistics.median(self.costs_us)


def signed(algorithm: str, key: Any = None, **claims: Any) -> str:
    """Return a token like Better Auth's for the user `bench`."""
    now_s = int(time.time())
    merged = {"sub": "bench", "email": "bench@example.com", "name": "B", "iat": now_s, "exp": now_s + 900, **claims}
    if algorithm == "HS256":
        return jwt.encode(merged, key or SECRET, algorithm)
    return jwt.encode(merged, key or KEYS[algorithm], algorithm, {"kid": algorithm})


def fresh(make: Callable[[int], str]) -> Iterator[str]:
    """Return tokens that all differ.  They are created in advance, so that creating them is not measured."""
    return iter([make(number) for number in range(ROUNDS)])


def key_set() -> bytes:
    """Return the public keys as Better Auth publishes them."""
    algorithms = get_default_algorithms()
    members = [
        {**algorithms[name].to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": name}
        for name, key in KEYS.items()
    ]
    return json.dumps({"keys": members}).encode()


def kinds(origin: str) -> list[Requests]:
    """Return the requests to measure; in the table, everything is compared with the first entry."""
    ours = {"iss": origin, "aud": origin}
    return [
        Requests(AGAIN, 200, itertools.repeat(signed("HS256"))),
        Requests(AGAIN_BY_KEY, 200, itertools.repeat(signed("EdDSA", **ours)), at_most=1.05),
        Requests(first("HS256"), 200, fresh(lambda n: signed("HS256", jti=str(n)))),
        *[Requests(first(name), 200, fresh(partial(numbered, name, ours))) for name in KINDS],
        *[Requests(f"another's {name} key", 401, fresh(partial(forged, name, ours)), first(name), 1) for name in KINDS],
        # Its payload is not read before its signature is verified.
        Requests("6 KB of all that may be", 401, itertools.repeat(all_that_may_be(5700)), first("EdDSA"), 1),
        bad("another's HS256 secret", fresh(lambda n: signed("HS256", SECRET[::-1], jti=str(n)))),
        attrs.evolve(bad("an unknown kid", fresh(partial(unknown, ours))), may_be_good=True),
        bad("expired", fresh(lambda n: signed("EdDSA", exp=n, **ours))),
        bad("another audience", fresh(lambda n: signed("EdDSA", aud=str(n), iss=origin))),
        bad("a session token", itertools.repeat("f3Zr0vSQ6uZ9tHqkq5pWj2x1yL8n4b7c")),
        bad("too long", itertools.repeat("x" * 20_000)),
        *[bad(name, itertools.repeat(token)) for name, token in malformed().items()],
    ]


def first(algorithm: str) -> str:
    """Return the name of the requests that cost one verification and nothing else."""
    return f"{algorithm}, sent for the first time"


def bad(name: str, tokens: Iterator[str]) -> Requests:
    """Return requests with invalid tokens that must cost no more than a valid one that is sent again."""
    return Requests(name, 401, tokens, AGAIN, 1)


def malformed() -> dict[str, str]:
    """Return tokens, by name, that have the maximum length and are designed to take long to parse."""
    return {
        "8 KB of nothing": "a" * 8000,
        "8 KB of dots": "." * 8000,
        "8 KB like a session token": f"{'a' * 32}.{'=' * 8000}!",
        "8 KB like a JWE": f"a.b.c.d.{'e' * 8000}!",
        "8 KB of objects": unsealed(listed(["{}"] * 1900)),
        "8 KB of arrays": unsealed("[" * 5800),
        "8 KB of numbers": unsealed(listed(["1"] * 2900)),
        "8 KB of members": unsealed(json.dumps({f"k{number}": 1 for number in range(500)})),
        "8 KB of fractions": unsealed(listed(["1.7976931348623157e308"] * 250)),
        "8 KB of numbers that are hard to parse": unsealed(listed([halfway()] * 7)),
        "8 KB of digits": unsealed(listed(["9" * 4299])),
        "8 KB of escapes": unsealed(listed(['"' + r"\u0041" * 950 + '"'])),
        "a header of 6 KB of escapes": unsealed("{}", '{"alg":"HS256","cty":"' + r"\u0041" * 950 + '"}'),
        "a header of 6 KB of short escapes": unsealed("{}", '{"alg":"HS256","cty":"' + r"\n" * 2800 + '"}'),
        "a header of 6 KB of texts": unsealed("{}", '""' * 2800 + "," * 13),
        "a header of 6 KB of texts and escapes": unsealed("{}", r'"\n"' * 1400 + "," * 13),
        "a header of 6 KB of ends": unsealed("{}", '"a' * 2800 + "," * 13),
        "a header of 6 KB of brackets": unsealed("{}", "[" * 5800),
        # The longest payload that is parsed before the signature is verified.
        "2 KB of all that may be": all_that_may_be(2048),
    }


def all_that_may_be(length: int) -> str:
    """Return a token with a payload of *length* bytes that takes as long as possible to parse."""
    text = "a" * (length - len(listed([*hard(30), '""'])))
    return unsealed(listed([*hard(30), f'"{text}"']), listed(hard(9), '"alg":"EdDSA","kid":"EdDSA","a"'))


def hard(count: int) -> list[str]:
    """Return numbers that take as long to parse as numbers of a permitted length can."""
    return [f"1.{number:018}e-9" for number in range(count)]


def halfway() -> str:
    """Return a number exactly halfway between two adjacent floats: parsers must read every digit to round it."""
    with decimal.localcontext(prec=1000):
        return str(decimal.Decimal(math.ulp(0.0)) * 7 / 2)


def listed(values: list[str], names: str = '"a"') -> str:
    """Return a JSON object with a list of *values*; *names* is the text in front of the list."""
    return f"{{{names}:[{','.join(values)}]}}"


def unsealed(payload: str, header: str = '{"alg":"HS256"}') -> str:
    """Return an unsigned token whose signature EdDSA cannot reject without verifying it."""
    signature = b"s" * 63 + b"\0"
    return b".".join(base64url_encode(part) for part in (header.encode(), payload.encode(), signature)).decode()


def numbered(algorithm: str, claims: dict[str, str], number: int) -> str:
    """Return a different token for each *number*."""
    return signed(algorithm, jti=str(number), **claims)


def forged(algorithm: str, claims: dict[str, str], number: int) -> str:
    """Return a token that names a key with which it is not signed."""
    return signed(algorithm, FORGED_KEYS[algorithm], jti=str(number), **claims)


def unknown(claims: dict[str, str], number: int) -> str:
    """Return a token that is signed with a key that nobody has published."""
    merged = {"sub": "bench", "exp": time.time() + 900, **claims}
    return jwt.encode(merged, FORGED_KEYS["EdDSA"], "EdDSA", {"kid": f"k{number}"})


async def measure() -> list[Requests]:
    """Send requests of all kinds in turns, one of each kind per round."""
    async with await asyncio.start_server(_publish, "127.0.0.1", 0) as publisher:
        origin = f"http://127.0.0.1:{publisher.sockets[0].getsockname()[1]}"
        table = kinds(origin)
        measured = table.copy()
        with tempfile.TemporaryDirectory() as folder:
            app = build_app(
                {
                    "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
                    "BETTER_AUTH_SECRET": SECRET,
                    "BETTER_AUTH_URL": origin,
                }
            )
            async with lifespan(app):
                for _ in range(ROUNDS):
                    # Each request adds to the cost of the next one, by changing the contents of the processor's caches.
                    random.shuffle(measured)
                    for requests in measured:
                        await requests.measure(app)
    return table


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


def show(measured: list[Requests]) -> None:
    """Print a table."""
    print(f"| GET with a token, {ROUNDS} times | status | CPU, to the first |")
    print("| --- | --- | --- |")
    for requests in measured:
        print(f"| {requests.name} | {requests.status} | {requests.cost_us / measured[0].cost_us:.2f} |")
    print(f"\nThe first took {measured[0].cost_us:.0f} us.")


def excesses(measured: list[Requests]) -> list[str]:
    """Return what costs too much."""
    by_name = {requests.name: requests for requests in measured}
    found = [(each, each.cost_us / by_name[each.baseline].cost_us) for each in measured]
    return [
        f"{each.name}: {times:.2f} of {each.baseline}, and at most {each.at_most:.2f} is promised"
        for each, times in found
        if times > each.at_most
    ]


def main() -> None:
    """Print what was measured, and exit with status 1 if it exceeds what is promised in every attempt."""
    for _ in range(ATTEMPTS):
        measured = asyncio.run(measure())
        show(measured)
        too_much = excesses(measured)
        if not too_much:
            return
    sys.exit(f"Too much: {'; '.join(too_much)}.")


if __name__ == "__main__":
    main()
