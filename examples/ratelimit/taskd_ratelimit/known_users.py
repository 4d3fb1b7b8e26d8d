"""Remember whose credentials have been verified: middleware runs before anyone has verified those of a request."""

import hashlib
import secrets
from collections.abc import Iterable, MutableMapping

import attrs
from cachetools import TTLCache

MAX_CREDENTIALS = 10_000
# How long credentials count for their user after they were last verified.
REMEMBERED_S = 300.0


def _remembered() -> MutableMapping[bytes, str]:
    return TTLCache(MAX_CREDENTIALS, REMEMBERED_S)


@attrs.frozen(eq=False)
class KnownUsers:
    """
    The users of verified credentials, which are kept as keyed digests.

    Attributes:
        headers: The names of the headers in which credentials are sent, in lower case.
    """

    headers: frozenset[bytes]
    _users: MutableMapping[bytes, str] = attrs.field(repr=False, factory=_remembered)
    _key: bytes = attrs.field(init=False, repr=False, factory=lambda: secrets.token_bytes(32))

    @classmethod
    def by_headers(cls, names: Iterable[str]) -> "KnownUsers":
        """Return an empty instance for credentials in the headers *names*."""
        return cls(frozenset(name.lower().encode() for name in names))

    def digest(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return a digest of all credentials in *headers*; None if there are none."""
        sent = [b"\0".join(header) for header in headers if header[0] in self.headers]
        # No header contains a NUL.
        return hashlib.blake2b(b"\0".join(sent), key=self._key, digest_size=16).digest() if sent else None

    def find(self, digest: bytes | None) -> str | None:
        """Return the user of the credentials with this *digest*, if they have been verified lately."""
        return None if digest is None else self._users.get(digest)

    def learn(self, digest: bytes, user: str) -> None:
        """Remember that the credentials with this *digest* have just been verified as those of *user*."""
        self._users[digest] = user
