"""`DATABASE_URL`: the forms it may have, and what becomes of TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
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
# PostgreSQL takes none.
WITHOUT_NUL = st.characters(exclude_characters="\0", codec="utf-8")
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


def proof(url: str) -> str:
    """What a server must prove before it gets to see a password: who it is, by whom it is known, or nothing."""
    tls = postgres(url).tls
    if tls is None:
        return "plain text"
    if tls.verify_mode == ssl.CERT_NONE:
        return "nothing"
    return "host" if tls.check_hostname else "authority"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A file with the certificate of a certificate authority."""
    file = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


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
            address.is_neon_pooler,
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

    @given(user=st.text(WITHOUT_NUL, min_size=1), password=st.text(WITHOUT_NUL))
    @without_a_clock
    def test_percent_encoding_keeps_any_user_and_password(self, user: str, password: str) -> None:
        """Whatever characters a user's name and a password have, encoded they arrive as they are."""
        address = postgres(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@localhost/tasks")

        assert (user, Secret(password)) == (address.user, address.password)

    @pytest.mark.parametrize("password", ["p+w", "p:w", "p%w", "p&w="])
    def test_a_password_needs_no_encoding_where_it_is_clear(self, password: str) -> None:
        """A password that was pasted as it is arrives as it is, unless it has what delimits the parts of a URL."""
        assert Secret(password) == postgres(f"postgresql://alice:{password}@db.example.com/tasks").password

    @pytest.mark.parametrize("user", ["", "alice:hunter2@"])
    @pytest.mark.parametrize(("host", "port"), [("[::1]", 5432), ("[::1]:5433", 5433), ("[2001:db8::1]:6432", 6432)])
    def test_ipv6_hosts_stand_in_brackets(self, host: str, port: int, user: str) -> None:
        """The brackets of an IPv6 address are no part of the host."""
        address = postgres(f"postgresql://{user}{host}/tasks")

        assert (host.partition("]")[0].strip("["), port) == (address.host, address.port)

    @pytest.mark.parametrize(("host", "is_pooled"), [(NEON, False), (NEON_POOLER, True), ("a.b-pooler.com", False)])
    def test_neons_url_is_taken_as_it_is(self, host: str, is_pooled: bool) -> None:
        """The URL of Neon's console is understood unchanged, and its pooled hosts are recognised."""
        url = f"postgresql://alice:npg_x@{host}/neondb?sslmode=require&channel_binding=require"
        address = postgres(url)

        assert (host, "neondb", True, is_pooled) == (
            address.host,
            address.database,
            address.is_binding_wanted,
            address.is_neon_pooler,
        )
        # What keeps others from posing as the server, where channel binding cannot.
        assert "host" == proof(url)

    @pytest.mark.parametrize("host", [NEON, "db.example.com", "localhost"])
    def test_a_direct_host_is_left_as_it_is(self, host: str) -> None:
        """Only Neon's poolers have another way to the same database."""
        address = postgres(f"postgresql://{host}/tasks")

        assert address == address.direct()

    @pytest.mark.parametrize("dot", ["", "."])
    def test_the_direct_host_of_neons_pooler_is_known(self, dot: str) -> None:
        """Migrations go past the pooler, with all else the same, a dot at the host's end included."""
        direct = postgres(f"postgresql://alice:npg_x@{NEON_POOLER}{dot}/neondb").direct()

        assert (f"{NEON}{dot}", 5432, "alice", Secret("npg_x"), "neondb") == (
            direct.host,
            direct.port,
            direct.user,
            direct.password,
            direct.database,
        )

    @pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
    @pytest.mark.parametrize("host", ["db.example.com", "localhost"])
    def test_a_mode_that_may_encrypt_does(self, host: str, mode: str, authority: Path) -> None:
        """There is no falling back to plain text, which libpq does with two of these; with an authority they ask it."""
        url = f"postgresql://{host}/tasks?sslmode={mode}"

        assert ["nothing", "authority"] == [proof(url), proof(f"{url}&sslrootcert={authority}")]

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://db.example.com/tasks",
            "postgresql://192.0.2.1/tasks",
            "postgresql://[2001:db8::1]/tasks",
            "postgresql://localhost.example.com/tasks",
            "postgresql://0.0.0.0/tasks",
            "postgresql://db.example.com/tasks?channel_binding=require",
            "postgresql://db.example.com/tasks?sslmode=prefer&channel_binding=require",
            "postgresql://db.example.com/tasks?sslmode=verify-full",
            "postgresql://db.example.com/tasks?sslmode=verify-full&sslrootcert=system",
            "postgresql://localhost/tasks?sslmode=verify-full",
        ],
    )
    def test_a_remote_host_is_verified_unless_told_otherwise(self, url: str) -> None:
        """Without `sslmode` the certificate of a host that is not this machine must be good, and its own."""
        assert "host" == proof(url)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("sslmode=verify-ca", "authority"),
            ("sslmode=verify-full", "host"),
            ("channel_binding=prefer", "host"),
            ("sslmode=require&channel_binding=require", "host"),
            ("sslmode=require", "authority"),
        ],
    )
    def test_an_authority_of_ones_own_is_asked(self, query: str, expected: str, authority: Path) -> None:
        """`sslrootcert` names whom to trust, on this machine too."""
        assert expected == proof(f"postgresql://db.example.com/tasks?{query}&sslrootcert={authority}")
        assert "host" == proof(f"postgresql://localhost/tasks?sslrootcert={authority}")

    @pytest.mark.parametrize("query", ["", "?sslmode=disable", "?channel_binding=prefer"])
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
    def test_this_machine_is_reached_in_plain_text(self, host: str, query: str) -> None:
        """No TLS is needed where nobody is in between."""
        assert "plain text" == proof(f"postgresql://{host}/tasks{query}")

    def test_binding_on_this_machine_is_by_tls(self) -> None:
        """Where nobody can be in between, `channel_binding` asks for TLS, and for no certificate."""
        assert "nothing" == proof("postgresql://localhost/tasks?channel_binding=require")

    def test_plain_text_to_a_remote_host_must_be_allowed(self) -> None:
        """It takes a setting besides the URL."""
        url = "postgresql://alice:hunter2@db.example.com/tasks?sslmode=disable"
        allowed = parse(url, allow_plaintext=True)

        assert isinstance(allowed, PostgresAddress)
        assert allowed.tls is None
        assert "TASKD_ALLOW_PLAINTEXT=1" in refusal(url)

    def test_other_parameters_are_honoured(self) -> None:
        """What libraries write into a URL besides, and what its absence means."""
        given = postgres("postgresql://localhost/tasks?connect_timeout=10&application_name=night%20shift")
        absent = postgres("postgresql://localhost/tasks")

        assert (10, "night shift") == (given.connect_timeout_s, given.application_name)
        assert (None, "taskd") == (absent.connect_timeout_s, absent.application_name)

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("sslmode=REQUIRE", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
            ("sslmode=", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
            ("sslmode=require&sslmode=disable", "has a parameter twice"),
            ("sslmode=require&options=-c&host=x", "parameters that are not known: host, options"),
            ("a%20b=c", "parameters that are not known: (not a name)"),
            ("channel_binding=yes", "channel_binding must be one of disable, prefer, require"),
            ("sslmode=require&sslrootcert=missing.pem", "sslrootcert must be a file of certificates in PEM, or system"),
            ("sslrootcert=", "sslrootcert must be a file of certificates in PEM, or system"),
            ("sslmode=require&sslrootcert=", "sslrootcert must be a file of certificates in PEM, or system"),
            ("sslrootcert=.", "sslrootcert must be a file of certificates in PEM, or system"),
            ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
            ("connect_timeout=0", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=0000000601", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=601", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=1e1", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=", "connect_timeout must be a number of seconds from 1 to 600"),
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
        ("query", "reason"),
        [
            ("sslrootcert=/x.pem", "sslrootcert needs another sslmode than disable"),
            ("channel_binding=require", "channel_binding=require needs another sslmode than disable"),
        ],
    )
    def test_parameters_that_contradict_each_other_are_refused(self, query: str, reason: str) -> None:
        """Nobody has to guess which of two was meant."""
        assert refusal(f"postgresql://localhost/tasks?sslmode=disable&{query}").endswith(reason)

    @pytest.mark.parametrize("port", ["port", "0", "-1", "65536", "1,two:2"])
    def test_a_bad_port_is_said(self, port: str) -> None:
        """A port is a number that a server can listen on."""
        message = refusal(f"postgresql://alice:hunter2@db.example.com:{port}/tasks")

        assert message.startswith("DATABASE_URL: must have a number from 1 to 65535 as its port")

    @pytest.mark.parametrize(
        "url", ["postgresql://", "postgresql:///tasks", "postgresql://alice:hunter2@/tasks", "postgresql://::1/"]
    )
    def test_a_missing_host_is_said(self, url: str) -> None:
        """Nothing is connected to by default."""
        assert refusal(url).startswith("DATABASE_URL: names no host; it must be postgresql://USER:PASSWORD@HOST/")

    @pytest.mark.parametrize("host", ["one,two", "%2Ftmp", "-h", "[::1]x", "[::1]x:5433", "u:p@[::1]x"])
    def test_one_host_is_named(self, host: str) -> None:
        """Neither several hosts nor the folder of a socket are understood."""
        assert refusal(f"postgresql://{host}/tasks").startswith("DATABASE_URL: names something else than one host; it ")

    def test_a_plus_is_a_plus(self) -> None:
        """Parameters are read as libpq reads them, not as forms are."""
        assert "a+b" == postgres("postgresql://localhost/tasks?application_name=a+b").application_name

    def test_another_variable_is_named(self) -> None:
        """Whoever reads the refusal looks in the right place."""
        with pytest.raises(SettingsError, match=r"^TASKD_MIGRATE_URL: names no host"):
            parse("postgresql:///tasks", variable="TASKD_MIGRATE_URL")

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "tasks",
            "postgresql",
            "postgresql://alice:hunter2@db..example.com/tasks",
            f"postgresql://alice:hunter2@{'x' * 64}.example.com/tasks",
            "postgresql://alice:hunter2@[::1/tasks",
            "postgresql://al%00ice:hunter2@db.example.com/tasks",
            "postgresql://alice:hunter2@db.example.com/tasks?sslrootcert=%00",
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

    @pytest.mark.parametrize("raw", ["%FF", os.fsdecode(b"\xff")], ids=["encoded", "raw"])
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://al{}ice:hunter2@db.example.com/tasks",
            "postgresql://alice:{}hunter2@db.example.com/tasks",
            "postgresql://alice:hunter2@db.example.com/ta{}sks",
            "postgresql://alice:hunter2@db.example.com/tasks?application_name=night{}shift",
        ],
    )
    def test_what_is_no_utf8_is_refused(self, url: str, raw: str) -> None:
        """Bytes that no text has, and which neither PostgreSQL nor a log would take, are found at the start."""
        message = refusal(url.format(raw))

        assert message.startswith("DATABASE_URL: must be postgresql://USER:PASSWORD@HOST/DATABASE, where ")
        assert ("\n" in message, SENTINEL in message) == (False, False)

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
    @example(value="\0hunter2")
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
            # Whoever has another scheme in mind has a password there.
            ("sqlite:///u:hunter2@h/db", ": FILE must be a file in a directory that exists"),
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
