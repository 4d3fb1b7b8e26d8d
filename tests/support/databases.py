"""Empty databases of both kinds: run statements in them, lock them, and describe their schema."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import attrs
import pytest

from tests.support.postgres import PostgresServer

VERSION = "SELECT version_num FROM taskd_version"
TABLES = ("tasks", "taskd_version", "owners", "idempotency_keys")
DROP_TABLES = "".join(f"DROP TABLE IF EXISTS {name};" for name in TABLES)


class Place(abc.ABC):
    """A database that tests access without taskd."""

    @property
    @abc.abstractmethod
    def url(self) -> str: ...

    @abc.abstractmethod
    def run(self, sql: str) -> list[str]:
        """Run a script and return the first column of its last statement's result."""

    @abc.abstractmethod
    def schema(self) -> list[str]:
        """Describe everything in the catalog, in an order that does not depend on how it was created."""


@attrs.frozen
class SQLitePlace(Place):
    file: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def run(self, sql: str) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            if ";" in sql:
                connection.executescript(sql)
                return []
            return [str(row[0]) for row in connection.execute(sql)]

    def schema(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
            columns = [
                (name, *column)
                for kind, name, _, _ in made
                if kind == "table"
                for column in connection.execute(f"PRAGMA table_xinfo({name})")
            ]
        parts = [
            (*what, part) for *what, sql in made for part in re.split(r"[\s,()]*[\n,()][\s,()]*", sql or "") if part
        ]
        return sorted(str(row) for row in [*parts, *columns])


@attrs.frozen
class PostgresPlace(Place):
    server: PostgresServer
    name: str

    @classmethod
    def make(cls, server: PostgresServer) -> PostgresPlace:
        place = cls(server, f"place_{uuid.uuid4().hex}")
        server.psql("postgres", "-c", f"CREATE DATABASE {place.name}")
        return place

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def run(self, sql: str) -> list[str]:
        return self.server.psql(self.name, "-c", sql).splitlines()

    def schema(self) -> list[str]:
        dumped = self.server.run("pg_dump", "--schema-only", "--restrict-key=x", self.url).splitlines()
        return sorted(line.rstrip(",") for line in dumped)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> SQLitePlace:
    """An SQLite file that does not exist yet."""
    return SQLitePlace(tmp_path / "empty.db")


@pytest.fixture
def postgres_place(postgres: PostgresServer) -> PostgresPlace:
    """A PostgreSQL database without any tables."""
    return PostgresPlace.make(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """An empty database: every test that uses it runs on both kinds."""
    kind = "sqlite_place" if request.param == "sqlite" else "postgres_place"
    made: Place = request.getfixturevalue(kind)
    return made


@contextlib.contextmanager
def holding(
    place: Place, sqlite: str = "BEGIN EXCLUSIVE", postgres: str = "LOCK TABLE taskd_version"
) -> Iterator[None]:
    """Lock everything in *place*, or what the statement for its kind of database locks."""
    if isinstance(place, SQLitePlace):
        with contextlib.closing(sqlite3.connect(place.file, isolation_level=None)) as connection:
            connection.execute(sqlite)
            yield
        return
    with asyncio.Runner() as runner:
        other = runner.run(asyncpg.connect(place.url))
        runner.run(other.execute(f"BEGIN; {postgres}"))
        yield
        # Only this makes sure that the lock is gone: `close` returns before it is.
        runner.run(other.execute("ROLLBACK"))
        runner.run(other.close())
