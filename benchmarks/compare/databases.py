"""The databases that the servers use: each turn of a server begins with a fresh copy of the same tasks."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from benchmarks.compare.population import Group, Population
from tests.support.postgres import TEMPLATE, PostgresServer

__all__ = ["Database", "Databases"]

PEERS_TABLE = Path(__file__).parents[1] / "servers" / "tasks.sql"
COLUMNS = (
    "user_id, id, title, description, status, priority, due_at, tags, created_at, updated_at, completed_at, version"
)
FOLDED = "title_folded, description_folded"
# Vacuums and checkpoints would run at different times for different servers.
SETTINGS = ("autovacuum = off", "checkpoint_timeout = '1d'", "max_wal_size = '8GB'")
BEFORE_FILLING = """
    ALTER TABLE tasks DROP CONSTRAINT tasks_pkey;
    SET session_replication_role = replica;
    SET maintenance_work_mem = '512MB';
"""
AFTER_FILLING = "ALTER TABLE tasks ADD PRIMARY KEY (user_id, id)"


class Database(Protocol):
    """A copy of the tasks."""

    @property
    def url(self) -> str:
        """Its URL, without anything in between."""

    def fill(self, groups: Sequence[Group]) -> None:
        """Add the tasks of the groups while nobody uses the database."""

    def add(self, group: Group) -> None:
        """Add the tasks of a group."""


@attrs.frozen
class PostgresDatabase:
    """A database in PostgreSQL, with taskd's tables or with the peers' table."""

    server: PostgresServer
    name: str
    is_taskd: bool

    @property
    def url(self) -> str:
        """Its URL."""
        return self.server.url(self.name)

    def fill(self, groups: Sequence[Group]) -> None:
        """Add the tasks of the groups; building the index afterwards takes a fraction of the time."""
        insertions = [argument for group in groups for argument in ("-c", self._insertion(group))]
        self.server.psql(self.name, "-c", BEFORE_FILLING, *insertions, "-c", AFTER_FILLING)
        self.server.psql(self.name, "-c", "VACUUM (FREEZE, ANALYZE)", "-c", "CHECKPOINT")

    def add(self, group: Group) -> None:
        """Add the tasks of a group."""
        self.server.psql(self.name, "-c", self._insertion(group))

    def _insertion(self, group: Group) -> str:
        if not self.is_taskd:
            return f"INSERT INTO tasks ({COLUMNS}) {group.sql()}"
        tasks = f"INSERT INTO tasks ({COLUMNS}, {FOLDED}) SELECT *, title, description FROM ({group.sql()}) AS made"  # noqa: S608
        owners = (
            f"INSERT INTO owners SELECT md5('{group.name}-' || number), {group.first + group.each}, true"  # noqa: S608
            f" FROM generate_series(0, {group.users} - 1) number ON CONFLICT DO NOTHING"
        )
        return f"{owners}; {tasks}"


@attrs.frozen
class SQLiteDatabase:
    """A database in a file, with taskd's tables."""

    file: Path

    @property
    def url(self) -> str:
        """Its URL."""
        return f"sqlite:///{self.file}"

    def fill(self, groups: Sequence[Group]) -> None:
        """Add the tasks of the groups."""
        for group in groups:
            self.add(group)

    def add(self, group: Group) -> None:
        """Add the tasks of a group."""
        with contextlib.closing(sqlite3.connect(self.file, timeout=60)) as connection, connection:
            owners = [(user, group.first + group.each, True) for user in group.user_ids()]
            connection.executemany("INSERT INTO owners VALUES (?, ?, ?) ON CONFLICT DO NOTHING", owners)
            names = [name.strip() for name in f"{COLUMNS}, {FOLDED}".split(",")]
            values = ", ".join(f":{name}" for name in names)
            connection.executemany(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({values})", group.rows())  # noqa: S608


@attrs.frozen
class Databases:
    """Where fresh databases come from."""

    server: PostgresServer
    folder: Path
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @classmethod
    def filled(cls, server: PostgresServer, folder: Path, population: Population, kinds: Iterable[str]) -> Databases:
        """Fill a template of each of the *kinds*: `taskd`, `peers` and `sqlite`."""
        for setting in SETTINGS:
            server.psql("postgres", "-c", f"ALTER SYSTEM SET {setting}")
        server.psql("postgres", "-c", "SELECT pg_reload_conf()")
        databases = cls(server, folder)
        for kind in kinds:
            template = databases._empty(kind)
            template.fill(population.groups())
        return databases

    def _empty(self, kind: str) -> Database:
        if kind == "sqlite":
            database = SQLiteDatabase(self.folder / "template.db")
            command = [sys.executable, "-m", "taskd", "migrate"]
            environ = {"DATABASE_URL": database.url}
            subprocess.run(command, env=environ, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
            return database
        name = f"filled_{kind}"
        template = TEMPLATE if kind == "taskd" else "template1"
        self.server.psql("postgres", "-c", f"CREATE DATABASE {name} TEMPLATE {template}")
        if kind == "peers":
            self.server.psql(name, "-c", PEERS_TABLE.read_text())
        return PostgresDatabase(self.server, name, kind == "taskd")

    @contextlib.contextmanager
    def fresh(self, kind: str) -> Iterator[Database]:
        """Copy the template of that kind for the duration of the block."""
        name = f"copy_{next(self._numbers)}"
        if kind == "sqlite":
            file = self.folder / f"{name}.db"
            shutil.copy(self.folder / "template.db", file)
            yield SQLiteDatabase(file)
            for left in self.folder.glob(f"{name}.db*"):
                left.unlink()
            return
        copying = f"CREATE DATABASE {name} TEMPLATE filled_{kind} STRATEGY file_copy"
        self.server.psql("postgres", "-c", copying, "-c", "CHECKPOINT")
        yield PostgresDatabase(self.server, name, kind == "taskd")
        self.server.psql("postgres", "-c", f"DROP DATABASE {name} WITH (FORCE)")
