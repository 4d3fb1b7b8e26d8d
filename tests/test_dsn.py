"""`DATABASE_URL`: the forms it may have, and what becomes of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskd import Secret, SettingsError
from taskd_sql.dsn import PostgresAddress, SQLiteAddress, parse
from taskd_sql.plugin import taskd_storage

NEON = "ep-cool-darkness-123456.us-east-2.aws.neon.tech"
NEON_POOLER = "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech"
SENTINEL = "hunter2"
AWKWARD_TEXTS = st.text("@:/?#&=%+[];, \n\u00e9", max_size=6)
PASSWORDS = st.tuples(st.text(max_size=8) | AWKWARD_TEXTS, st.text(max_size=8) | AWKWARD_TEXTS).map(SENTINEL.join)
without_a_clock = settings(deadline=None, database=None)


def postgres(url: str) -> PostgresAddress:
    """The address of a PostgreSQL server that *url* is."""
    address = parse(url)
    assert isinstance(address, PostgresAddress)
    return address


def refusal(url: str) -> str:
    """What is said against *url*."""
    with pytest.raises(SettingsError) as caught:
        parse(url)
    return str(caught.value)


def shown(url: str) -> str:
    """Whatever is shown of *url*: of the address, or of the refusal."""
    try:
        return repr(parse(url))
    except SettingsError as error:
        return str(error)


def verifies(tls: ssl.SSLContext | str | bool) -> bool:
    """Whether a connection with *tls* is made to nobody but the host."""
    return isinstance(tls, ssl.SSLContext) and tls.verify_mode == ssl.CERT_REQUIRED and tls.check_hostname


class TestPostgres:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
    def test_all_names_of_the_scheme_mean_the_same(self, scheme: str) -> None:
        """A URL is taken as consoles and libraries give it."""
        address = postgres(f"{scheme}://alice:hunter2@db.example.com:6432/tasks")

        assert ("db.example.com", 6432, "alice", Secret("hunter2"), "tasks", False) == (
            address.host,
            address.port,
            address.user,
            address.password,
            address.database,
            address.is_pooled,
        )

    @pytest.mark.parametrize(
        ("url", "user", "password", "database"),
        [
            ("postgresql://db.example.com", None, None, None),
            ("postgresql://db.example.com/", None, None, None),
            ("postgresql://alice@db.example.com/tasks", "alice", None, "tasks"),
            ("postgresql://alice:@db.example.com/tasks", "alice", Secret(""), "tasks"),
        ],
    )
    def test_what_is_left_out_is_left_to_the_driver(
        self, url: str, user: str | None, password: Secret | None, database: str | None
    ) -> None:
        """Only the host must be there; the port is 5432 unless told."""
        address = postgres(url)

        assert (5432, user, password, database) == (address.port, address.user, address.password, address.database)

    @given(user=st.text(min_size=1), password=st.text())
    @without_a_clock
    def test_percent_encoding_keeps_any_user_and_password(self, user: str, password: str) -> None:
        """Whatever characters a user's name and a password have, encoded they arrive as they are."""
        address = postgres(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@localhost/tasks")

        assert (user, Secret(password)) == (address.user, address.password)

    @pytest.mark.parametrize("password", ["p+w", "p:w", "p%w", "p&w="])
    def test_a_password_needs_no_encoding_where_it_is_clear(self, password: str) -> None:
        """A password that was pasted as it is arrives as it is, unless it has what delimits the parts of a URL."""
        assert Secret(password) == postgres(f"postgresql://alice:{password}@db.example.com/tasks").password

    @pytest.mark.parametrize(("host", "port"), [("[::1]", 5432), ("[2001:db8::1]:6432", 6432)])
    def test_ipv6_hosts_stand_in_brackets(self, host: str, port: int) -> None:
        """The brackets of an IPv6 address are no part of the host."""
        address = postgres(f"postgresql://alice:hunter2@{host}/tasks")

        assert (host.partition("]")[0].strip("["), port) == (address.host, address.port)

    @pytest.mark.parametrize(("host", "is_pooled"), [(NEON, False), (NEON_POOLER, True), ("a.b-pooler.com", False)])
    def test_neons_url_is_taken_as_it_is(self, host: str, is_pooled: bool) -> None:
        """The URL of Neon's console is encrypted, and its pooled hosts are recognised."""
        address = postgres(f"postgresql://alice:npg_x@{host}/neondb?sslmode=require&channel_binding=require")

        assert (host, "neondb", "require", is_pooled) == (
            address.host,
            address.database,
            address.tls,
            address.is_pooled,
        )

    @pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
    @pytest.mark.parametrize("host", ["db.example.com", "localhost"])
    def test_a_mode_that_may_encrypt_does(self, host: str, mode: str) -> None:
        """There is no falling back to plain text, which libpq does with two of these."""
        assert "require" == postgres(f"postgresql://{host}/tasks?sslmode={mode}").tls

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://db.example.com/tasks",
            "postgresql://192.0.2.1/tasks",
            "postgresql://[2001:db8::1]/tasks",
            "postgresql://localhost.example.com/tasks",
            "postgresql://0.0.0.0/tasks",
            "postgresql://db.example.com/tasks?channel_binding=require",
            "postgresql://db.example.com/tasks?sslmode=verify-full",
            "postgresql://localhost/tasks?sslmode=verify-full",
        ],
    )
    def test_a_remote_host_is_verified_unless_told_otherwise(self, url: str) -> None:
        """Without `sslmode` the certificate of a host that is not this machine must be good, and its own."""
        assert verifies(postgres(url).tls)

    @pytest.mark.parametrize("query", ["", "?sslmode=disable"])
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
    def test_this_machine_is_reached_in_plain_text(self, host: str, query: str) -> None:
        """No TLS is needed where nobody is in between."""
        tls = postgres(f"postgresql://{host}/tasks{query}").tls

        assert (False, False) == (tls, verifies(tls))

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("sslmode=disable", "must not say sslmode=disable for a host that is not this machine"),
            ("sslmode=verify-ca", "sslmode must be disable, require or verify-full"),
            ("sslmode=REQUIRE", "sslmode must be disable, require or verify-full"),
            ("sslmode=require&sslmode=disable", "has a parameter twice"),
            ("sslmode=require&options=-c&connect_timeout=5", "parameters that are not known: connect_timeout, options"),
            ("host=evil.example.com", "parameters that are not known: host"),
            ("ssl=true", "parameters that are not known: ssl"),
            ("SSLMODE=require", "parameters that are not known: SSLMODE"),
        ],
    )
    def test_a_parameter_is_honoured_or_refused(self, query: str, reason: str) -> None:
        """No parameter is dropped without a word."""
        message = refusal(f"postgresql://alice:hunter2@db.example.com/tasks?{query}")

        assert message.startswith("DATABASE_URL: ")
        assert message.endswith(reason)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "tasks",
            "postgresql",
            "postgresql:",
            "postgresql://",
            "postgresql:///tasks",
            "postgresql://alice:hunter2@/tasks",
            "postgresql://alice:hunter2@db.example.com:port/tasks",
            "postgresql://alice:hunter2@db.example.com:0/tasks",
            "postgresql://alice:hunter2@db.example.com:-1/tasks",
            "postgresql://alice:hunter2@db.example.com:65536/tasks",
            "postgresql://alice:hunter2@db..example.com/tasks",
            f"postgresql://alice:hunter2@{'x' * 64}.example.com/tasks",
            "postgresql://alice:hunter2@[::1/tasks",
            "postgresql://alice:hunter2@::1/tasks",
            "postgresql://alice:hunter2@one:1,two:2/tasks",
            "postgresql+psycopg://alice:hunter2@db.example.com/tasks",
            "mysql://alice:hunter2@db.example.com/tasks",
            "https://alice:hunter2@db.example.com/tasks",
            "sqlite",
            "sqlite:",
            "sqlite://",
            "sqlite://tasks.db",
            "sqlite+aiosqlite:///tasks.db",
        ],
    )
    def test_other_forms_are_refused(self, url: str) -> None:
        """What is no address of a known kind is answered with the forms that are."""
        assert refusal(url).startswith("DATABASE_URL: must be postgresql://USER:PASSWORD@HOST/DATABASE, where ")

    @pytest.mark.parametrize("password", ["p@w", "@", "p@w?x=1", "p@w?x", "p@w/x", "p/w", "1/w", "1?w", "1#w", "[p]"])
    def test_a_delimiter_in_a_password_must_be_encoded(self, password: str) -> None:
        """No part of a password is mistaken for a host, a path or a parameter."""
        assert "percent-encoded" in refusal(f"postgresql://alice:{password}@db.example.com/tasks")


class TestSecrecy:
    @given(password=PASSWORDS, query=st.text() | st.sampled_from(["", "sslmode=disable", "sslmode=x", "a=b"]))
    @without_a_clock
    def test_an_encoded_password_is_never_shown(self, password: str, query: str) -> None:
        """Whatever the password and the parameters are, neither the address nor a refusal shows the password."""
        text = shown(f"postgresql://alice:{quote(password, safe='')}@db.example.com/tasks?{query}")

        assert SENTINEL not in text

    @given(
        password=PASSWORDS,
        scheme=st.sampled_from(["postgresql", "postgres", "mysql", "https", "sqlite", ""]),
        host=st.sampled_from(["db.example.com", "localhost", "", "[::1", "db:port", "db:0"]),
        query=st.sampled_from(["", "?", "?sslmode=disable", "?sslmode=x", "?a=b"]),
    )
    @example(password="p@w?hunter2=", scheme="postgresql", host="db.example.com", query="")
    @example(password="p@hunter2", scheme="postgresql", host="db.example.com", query="")
    @without_a_clock
    def test_a_pasted_password_is_never_shown(self, password: str, scheme: str, host: str, query: str) -> None:
        """A password that should have been encoded is not shown either, not even in part."""
        text = shown(f"{scheme}://alice:{password}@{host}/tasks{query}")

        assert SENTINEL not in text
        assert "\n" not in text

    @given(value=PASSWORDS)
    @without_a_clock
    def test_the_value_of_a_parameter_is_never_shown(self, value: str) -> None:
        """A password among the parameters is refused by the parameter's name."""
        message = refusal(f"postgresql://db.example.com/tasks?password={quote(value)}")

        assert "DATABASE_URL: has parameters that are not known: password" == message


class TestSQLite:
    @pytest.mark.parametrize(
        ("url", "file"),
        [
            ("sqlite:///tasks.db", "tasks.db"),
            ("sqlite:///./tasks.db", "tasks.db"),
            ("sqlite:////tmp/tasks.db", "/tmp/tasks.db"),  # noqa: S108  it is not made
            ("sqlite:///my tasks%20.db", "my tasks%20.db"),
            ("sqlite:///file:tasks.db", "file:tasks.db"),
            ("sqlite:///\u00e9@:&.db", "\u00e9@:&.db"),
        ],
    )
    def test_a_file_is_named_as_it_is(self, url: str, file: str) -> None:
        """All after the third slash is the file's name, relative or absolute, and not decoded."""
        assert SQLiteAddress(Path(file)) == parse(url)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("sqlite:///", "must name a file: sqlite:///FILE"),
            ("sqlite:///:memory:", "must name a file: sqlite:///FILE"),
            ("sqlite:///tasks.db?timeout=5", "takes no parameters after sqlite:///FILE"),
            ("sqlite:///tasks.db#x", "takes no parameters after sqlite:///FILE"),
            ("sqlite:///tasks\0.db", "takes no parameters after sqlite:///FILE"),
            ("sqlite:///.", "must be a file in a directory that exists"),
            ("sqlite:////", "must be a file in a directory that exists"),
            ("sqlite:///missing/tasks.db", "must be a file in a directory that exists"),
            (f"sqlite:///{'x' * 5000}", "must be a file in a directory that exists"),
        ],
    )
    def test_what_cannot_be_a_file_is_refused(self, url: str, reason: str) -> None:
        """A name that no database can have is found at the start."""
        message = refusal(url)

        assert message.startswith("DATABASE_URL: ")
        assert message.endswith(reason)

    def test_reading_the_setting_makes_no_file(self) -> None:
        """A store is made without I/O: its file appears at the first use."""
        taskd_storage({"DATABASE_URL": "sqlite:///tasks.db"})
        taskd_storage({})

        assert [] == list(Path().iterdir())


def test_either_kind_of_address_makes_a_store() -> None:
    """The storage plugin takes what is read from the setting, whichever kind of database it is of."""
    addresses = [
        taskd_storage({"DATABASE_URL": url}).database for url in ("sqlite:///tasks.db", "postgresql://localhost/tasks")
    ]

    assert ["SQLiteDatabase", "PostgresDatabase"] == [type(address).__name__ for address in addresses]
