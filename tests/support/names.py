"""A real name server, and processes that use it instead of the machine's."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.requirements import permitted, required

# Nobody owns this domain (RFC 2606, section 2).
NAME = "database.test"
# The name server is queried again after one second without a response, instead of the usual five (resolv.conf(5)).
IMPATIENT_RESOLVER = {"RES_OPTIONS": "timeout:1 attempts:4"}


@attrs.define(eq=False)
class NameServer:
    """
    A name server at *address* that resolves every name to the loopback address.

    Attributes:
        is_empty: It knows no names.
        is_silent: It does not respond.
        delay_s: How long it takes to respond.
    """

    address: str
    is_empty: bool = False
    is_silent: bool = False
    delay_s: float = 0
    _answering: list[threading.Timer] = attrs.field(factory=list)

    @contextlib.contextmanager
    def without_names(self) -> Iterator[None]:
        self.is_empty = True
        try:
            yield
        finally:
            self.is_empty = False

    @contextlib.contextmanager
    def without_responses(self) -> Iterator[None]:
        self.is_silent = True
        try:
            yield
        finally:
            self.is_silent = False

    def response(self, question: bytes) -> bytes | None:
        """Return the response to *question*; both are messages as in RFC 1035, section 4."""
        if self.is_silent:
            return None
        asked = dns.message.from_wire(question)
        answered = dns.message.make_response(asked)
        [what] = asked.question
        if self.is_empty:
            answered.set_rcode(dns.rcode.NXDOMAIN)
        elif what.rdtype == dns.rdatatype.A:
            answered.answer.append(dns.rrset.from_text(what.name, 0, "IN", "A", "127.0.0.1"))
        return answered.to_wire()

    def serve(self, listening: socket.socket) -> None:
        """Respond to all questions until an empty datagram arrives."""
        while True:
            question, client = listening.recvfrom(65535)
            if not question:
                return
            if response := self.response(question):
                answering = threading.Timer(self.delay_s, listening.sendto, (response, client))
                answering.start()
                self._answering.append(answering)

    def wait(self) -> None:
        """Wait until all responses have been sent."""
        for each in self._answering:
            each.join()


@contextlib.contextmanager
def name_server() -> Iterator[NameServer]:
    """Run a name server at its own loopback address, because its port is fixed."""
    permitted("the machine's name server cannot be replaced", required("unshare"), "--mount", "true")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        listening.bind((address, 53))
        server = NameServer(address)
        serving = threading.Thread(target=server.serve, args=(listening,))
        serving.start()
        try:
            yield server
        finally:
            listening.sendto(b"", (address, 53))
            serving.join()
            server.wait()


def asking(server: NameServer, folder: Path, arguments: Sequence[str]) -> Sequence[str]:
    """Return arguments for Python that run it with *arguments*, but look up names at *server*."""
    configuration = folder / "resolv.conf"
    configuration.write_text(f"nameserver {server.address}\n")
    # It is mounted only for that process.
    replacing = ["--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(configuration)]
    run = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    return ["-c", run, required("unshare"), *replacing, sys.executable, *arguments]
