"""`DATABASE_URL`: its forms, and what they mean for TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from taskd.settings import Secret, SettingsError
from taskd_sql.plugin import taskd_storage
from taskd_sql.url import PostgresURL, SQLiteURL, parse

NEON = "ep-cool-darkness-123456.us-east-2.aws.neon.tech"
NEON_POOLER = "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech"
SENTINEL = "hunter2"
AWKWARD_TEXTS = st.text("@:/?#&=%+[];, \n\u00e9", max_size=6)
PASSWORDS = st.tuples(st.text(max_size=8) | AWKWARD_TEXTS, st.text(max_size=8) | AWKWARD_TEXTS).map(SENTINEL.join)
# PostgreSQL does not accept NUL.
WITHOUT_NUL = st.characters(exclude_characters="\0", codec="utf-8")


def postgres(url: str) -> PostgresURL:
    """Parse *url*, which must be that of a PostgreSQL server."""
    address = parse(url)
    assert isinstance(address, PostgresURL)
    return address


def refusal(url: str) -> str:
    """Return the error message for *url*."""
    with pytest.raises(SettingsError) as caught:
        parse(url)
    return str(caught.value)


def shown(url: str) -> str:
    """Return everything that may be shown of *url*: its repr, or the error message."""
    try:
        return repr(parse(url))
    except SettingsError as error:
        return str(error)


def proof(url: str) -> str:
    """Return what a server must prove before it receives a password: "host", "authority" or "nothing"."""
    tls = postgres(url).tls
    if tls is None:
        return "plain text"
    if tls.verify_mode == ssl.CERT_NONE:
        return "nothing"
    return "host" if tls.check_hostname else "authority"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A file with the certificate of an authority."""
    file = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


class TestPostgres:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
    def test_all_schemes_mean_the_same(self, scheme: str) -> None:
        """A URL is accepted as consoles and libraries write it."""
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
            ("postgresql://alice@db.example.com", "alice", None, "alice"),
            ("postgresql://alice@db.example.com/", "alice", None, "alice"),
            ("postgresql://alice@db.example.com/tasks", "alice", None, "tasks"),
            ("postgresql://alice:@db.example.com/tasks", "alice", Secret(""), "tasks"),
        ],
    )
    def test_port_and_database_have_defaults(self, url: str, user: str, password: Secret | None, database: str) -> None:
        """The port defaults to 5432, and the database to the user's name."""
        address = postgres(url)

        assert (5432, user, password, database) == (address.port, address.user, address.password, address.database)

    @given(user=st.text(WITHOUT_NUL, min_size=1), password=st.text(WITHOUT_NUL))
    def test_percent_encoding_keeps_any_user_and_password(self, user: str, password: str) -> None:
        """Whatever characters they have, they are decoded to the same."""
        address = postgres(f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@localhost/tasks")

        assert (user, Secret(password)) == (address.user, address.password)

    @pytest.mark.parametrize("password", ["p+w", "p:w", "p%w", "p&w="])
    def test_a_password_may_be_pasted_if_it_is_unambiguous(self, password: str) -> None:
        """A password that is not encoded is accepted unless it has delimiters of a URL."""
        assert Secret(password) == postgres(f"postgresql://alice:{password}@db.example.com/tasks").password

    @pytest.mark.parametrize("user", ["alice@", "alice:hunter2@"])
    @pytest.mark.parametrize(("host", "port"), [("[::1]", 5432), ("[::1]:5433", 5433), ("[2001:db8::1]:6432", 6432)])
    def test_ipv6_hosts_are_in_brackets(self, host: str, port: int, user: str) -> None:
        """The brackets are not part of the host."""
        address = postgres(f"postgresql://{user}{host}/tasks")

        assert (host.partition("]")[0].strip("["), port) == (address.host, address.port)

    @pytest.mark.parametrize(("host", "is_pooled"), [(NEON, False), (NEON_POOLER, True), ("a.b-pooler.com", False)])
    def test_neon_s_url_is_accepted_unchanged(self, host: str, is_pooled: bool) -> None:
        """The URL of Neon's console is understood, and its pooled hosts are recognized."""
        url = f"postgresql://alice:npg_x@{host}/neondb?sslmode=require&channel_binding=require"
        address = postgres(url)

        assert (host, "neondb", True, is_pooled) == (
            address.host,
            address.database,
            address.requires_channel_binding,
            address.is_neon_pooler,
        )
        # It protects against somebody posing as the server, as channel binding would.
        assert "host" == proof(url)

    @pytest.mark.parametrize("host", [NEON, "db.example.com", "localhost"])
    def test_a_direct_host_stays_the_same(self, host: str) -> None:
        """Only Neon's poolers have another way to the same database."""
        address = postgres(f"postgresql://alice@{host}/tasks")

        assert address == address.direct()

    @pytest.mark.parametrize("dot", ["", "."])
    def test_the_direct_host_of_neon_s_pooler(self, dot: str) -> None:
        """Migrations bypass the pooler, and everything else in the URL stays the same."""
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
        """Unlike libpq, no mode falls back to plain text; with an authority, all of them verify the certificate."""
        url = f"postgresql://alice@{host}/tasks?sslmode={mode}"

        assert ["nothing", "authority"] == [proof(url), proof(f"{url}&sslrootcert={authority}")]

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://alice@db.example.com/tasks",
            "postgresql://alice@192.0.2.1/tasks",
            "postgresql://alice@[2001:db8::1]/tasks",
            "postgresql://alice@localhost.example.com/tasks",
            "postgresql://alice@0.0.0.0/tasks",
            "postgresql://alice@db.example.com/tasks?channel_binding=require",
            "postgresql://alice@db.example.com/tasks?sslmode=prefer&channel_binding=require",
            "postgresql://alice@db.example.com/tasks?sslmode=verify-full",
            "postgresql://alice@db.example.com/tasks?sslmode=verify-full&sslrootcert=system",
            "postgresql://alice@localhost/tasks?sslmode=verify-full",
        ],
    )
    def test_a_remote_host_is_verified_by_default(self, url: str) -> None:
        """Without `sslmode`, the certificate of another machine must be valid and made out to it."""
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
    def test_sslrootcert_is_used(self, query: str, expected: str, authority: Path) -> None:
        """It names the authority to trust, on this machine too."""
        assert expected == proof(f"postgresql://alice@db.example.com/tasks?{query}&sslrootcert={authority}")
        assert "host" == proof(f"postgresql://alice@localhost/tasks?sslrootcert={authority}")

    @pytest.mark.parametrize("query", ["", "?sslmode=disable", "?channel_binding=prefer"])
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]"])
    def test_this_machine_is_reached_in_plain_text(self, host: str, query: str) -> None:
        """Nobody is in between, so TLS is not needed."""
        assert "plain text" == proof(f"postgresql://alice@{host}/tasks{query}")

    def test_channel_binding_on_this_machine_asks_for_tls(self) -> None:
        """Nobody can be in between, so the certificate is not verified."""
        assert "nothing" == proof("postgresql://alice@localhost/tasks?channel_binding=require")

    def test_plain_text_to_a_remote_host_must_be_allowed(self) -> None:
        """It takes a setting besides the URL."""
        url = "postgresql://alice:hunter2@db.example.com/tasks?sslmode=disable"
        allowed = parse(url, allow_plaintext=True)

        assert isinstance(allowed, PostgresURL)
        assert allowed.tls is None
        assert "TASKD_ALLOW_PLAINTEXT=1" in refusal(url)

    def test_other_parameters_are_honoured(self) -> None:
        """Both have defaults."""
        given = postgres("postgresql://alice@localhost/tasks?connect_timeout=10&application_name=night%20shift")
        absent = postgres("postgresql://alice@localhost/tasks")

        assert (10, "night shift") == (given.connect_timeout_s, given.application_name)
        assert (None, "taskd") == (absent.connect_timeout_s, absent.application_name)

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("sslmode=REQUIRE", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
            ("sslmode=", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
            ("sslmode=require&sslmode=disable", "has a parameter twice"),
            ("sslmode=require&options=-c&service=x", "unknown parameters: options, service"),
            ("a%20b=c", "unknown parameters: (not a name)"),
            ("channel_binding=yes", "channel_binding must be one of disable, prefer, require"),
            ("sslmode=require&sslrootcert=missing.pem", "sslrootcert must be system or a file of certificates in PEM"),
            ("sslrootcert=", "sslrootcert must be system or a file of certificates in PEM"),
            ("sslmode=require&sslrootcert=", "sslrootcert must be system or a file of certificates in PEM"),
            ("sslrootcert=.", "sslrootcert must be system or a file of certificates in PEM"),
            ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
            ("connect_timeout=0", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=0000000601", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=601", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=1e1", "connect_timeout must be a number of seconds from 1 to 600"),
            ("connect_timeout=", "connect_timeout must be a number of seconds from 1 to 600"),
            (
                "host=evil.example.com",
                "the parameter host must be the folder of a Unix socket, such as /run/postgresql",
            ),
            (
                "host=/run/postgresql",
                "has both a host and the folder of a Unix socket: leave one of them out",
            ),
            ("ssl=require", "unknown parameters: ssl (did you mean sslmode?)"),
            ("SSLMODE=require", "unknown parameters: SSLMODE (did you mean sslmode?)"),
            ("timeout=5", "unknown parameters: timeout (did you mean connect_timeout?)"),
        ],
    )
    def test_a_parameter_is_honoured_or_refused(self, query: str, reason: str) -> None:
        """No parameter is silently dropped."""
        message = refusal(f"postgresql://alice:hunter2@db.example.com/tasks?{query}")

        assert message.startswith("DATABASE_URL: ")
        assert message.endswith(reason)

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("sslrootcert=/x.pem", "sslrootcert needs an sslmode other than disable"),
            ("channel_binding=require", "channel_binding=require needs an sslmode other than disable"),
        ],
    )
    def test_contradicting_parameters_are_refused(self, query: str, reason: str) -> None:
        """taskd does not guess which of them was meant."""
        assert refusal(f"postgresql://alice@localhost/tasks?sslmode=disable&{query}").endswith(reason)

    @pytest.mark.parametrize("port", ["port", "0", "-1", "65536", "1,two:2"])
    def test_a_wrong_port_is_refused(self, port: str) -> None:
        """A port is a number that a server can listen on."""
        message = refusal(f"postgresql://alice:hunter2@db.example.com:{port}/tasks")

        assert message.startswith("DATABASE_URL: has a port that is not a number from 1 to 65535")

    @pytest.mark.parametrize(
        "url", ["postgresql://", "postgresql:///tasks", "postgresql://alice:hunter2@/tasks", "postgresql://::1/"]
    )
    def test_a_missing_host_is_refused(self, url: str) -> None:
        """There is no default host; the message says how to name a socket."""
        assert refusal(url).startswith("DATABASE_URL: has no host; it must be postgresql://USER:PASSWORD@HOST/")
        assert refusal(url).endswith("append ?host=/FOLDER to the database")

    @pytest.mark.parametrize("user", ["", "@", ":hunter2@"])
    @pytest.mark.parametrize("place", ["db.example.com/tasks", "/tasks?host=/run/postgresql"])
    def test_a_missing_user_is_refused(self, user: str, place: str) -> None:
        """The name of the process's user is not a default, because there may be none."""
        message = refusal(f"postgresql://{user}{place}")

        assert message.startswith("DATABASE_URL: has no user; it must be postgresql://USER:PASSWORD@HOST/")
        assert SENTINEL not in message

    @pytest.mark.parametrize("host", ["one,two", "%2Ftmp,%2Frun", "-h", "[::1]x", "[::1]x:5433", "u:p@[::1]x"])
    def test_several_hosts_are_refused(self, host: str) -> None:
        """There must be exactly one, which may be the folder of a socket."""
        assert refusal(f"postgresql://{host}/tasks").startswith("DATABASE_URL: does not have exactly one host; it ")

    @pytest.mark.parametrize(("port", "number"), [("", 5432), (":5433", 5433)])
    @pytest.mark.parametrize("folder", ["/run/postgresql", "%2FRun%2Fpostgresql"])
    def test_a_unix_socket_is_named_by_its_folder(self, port: str, number: int, folder: str) -> None:
        """As in libpq, `host` is the folder, and the port is part of the file's name."""
        address = postgres(f"postgresql://alice:hunter2@{port}/tasks?host={folder}")
        encoded = folder.replace("/", "%2F")

        assert address == postgres(f"postgresql://alice:hunter2@{encoded}{port}/tasks")
        decoded = folder.replace("%2F", "/")
        assert (decoded, number, "alice", Secret("hunter2"), "tasks") == (
            address.host,
            address.port,
            address.user,
            address.password,
            address.database,
        )
        assert (f"{decoded}/.s.PGSQL.{number}", True) == (address.server, address.is_local)

    @pytest.mark.parametrize("query", ["", "&sslmode=disable", "&channel_binding=prefer"])
    def test_a_unix_socket_needs_no_tls(self, query: str) -> None:
        """Nobody is in between."""
        assert "plain text" == proof(f"postgresql://alice@/tasks?host=/run/postgresql{query}")

    @pytest.mark.parametrize(
        "query",
        ["sslmode=require", "sslmode=prefer", "sslmode=verify-full", "channel_binding=require", "sslrootcert=x.pem"],
    )
    def test_tls_over_a_unix_socket_is_refused(self, query: str) -> None:
        """The parameters that ask for it are not silently dropped."""
        message = refusal(f"postgresql://alice@/tasks?host=/run/postgresql&{query}")

        assert message.startswith("DATABASE_URL: asks for TLS, which a Unix socket does not have")

    def test_a_plus_is_a_plus(self) -> None:
        """Parameters are decoded like in libpq, not like in forms."""
        assert "a+b" == postgres("postgresql://alice@localhost/tasks?application_name=a+b").application_name

    def test_the_variable_is_named(self) -> None:
        """The message leads to the right setting."""
        with pytest.raises(SettingsError, match=r"^TASKD_MIGRATE_URL: has no host"):
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
        """The message has the forms that are accepted."""
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
    def test_invalid_utf8_is_refused(self, url: str, raw: str) -> None:
        """Neither PostgreSQL nor a log accepts such bytes, so they are found at the start."""
        message = refusal(url.format(raw))

        assert message.startswith("DATABASE_URL: must be postgresql://USER:PASSWORD@HOST/DATABASE, where ")
        assert ("\n" in message, SENTINEL in message) == (False, False)

    @pytest.mark.parametrize("password", ["p@w", "@", "p@w?x=1", "p@w?x", "p@w/x", "p/w", "1/w", "1?w", "1#w", "[p]"])
    def test_a_delimiter_in_a_password_must_be_encoded(self, password: str) -> None:
        """No part of a password is taken for a host, a path or a parameter."""
        assert "percent-encoded" in refusal(f"postgresql://alice:{password}@db.example.com/tasks")


class TestSecrecy:
    @given(password=PASSWORDS, query=st.text() | st.sampled_from(["", "sslmode=disable", "sslmode=x", "a=b"]))
    def test_an_encoded_password_is_never_shown(self, password: str, query: str) -> None:
        """For all passwords and parameters, neither the repr nor the message shows the password."""
        text = shown(f"postgresql://alice:{quote(password, safe='')}@localhost/tasks?{query}")

        assert SENTINEL not in text

    @given(
        password=PASSWORDS,
        scheme=st.sampled_from(["postgresql", "postgres", "mysql", "https", "sqlite", ""]),
        host=st.sampled_from(["db.example.com", "localhost", "", "[::1", "db:port", "db:0"]),
        query=st.sampled_from(["", "?", "?sslmode=disable", "?sslmode=x", "?a=b"]),
    )
    @example(password="p@w?hunter2=", scheme="postgresql", host="db.example.com", query="")
    @example(password="p@hunter2", scheme="postgresql", host="db.example.com", query="")
    def test_a_pasted_password_is_never_shown(self, password: str, scheme: str, host: str, query: str) -> None:
        """A password that should have been encoded is not shown either, not even in part."""
        text = shown(f"{scheme}://alice:{password}@{host}/tasks{query}")

        assert SENTINEL not in text
        assert "\n" not in text

    @given(value=PASSWORDS)
    @example(value="\0hunter2")
    def test_values_of_parameters_are_never_shown(self, value: str) -> None:
        """A password in an unknown parameter is not quoted, only the parameter's name."""
        message = refusal(f"postgresql://alice@db.example.com/tasks?password={quote(value)}")

        assert "DATABASE_URL: has unknown parameters: password" == message


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
    def test_a_file_is_named_exactly(self, url: str, file: str) -> None:
        """Everything after the third slash is the file's name, relative or absolute, and is not decoded."""
        assert SQLiteURL(Path(file)) == parse(url)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("sqlite:///", "must name a file: sqlite:///FILE"),
            ("sqlite:///:memory:", "must name a file: sqlite:///FILE"),
            ("sqlite:///tasks.db?timeout=5", "must have no parameters after sqlite:///FILE"),
            ("sqlite:///tasks.db#x", "must have no parameters after sqlite:///FILE"),
            ("sqlite:///tasks\0.db", "must have no parameters after sqlite:///FILE"),
            ("sqlite:///.", "must be a file in a directory that exists"),
            # If another scheme was meant, this is a password.
            ("sqlite:///u:hunter2@h/db", ": FILE must be a file in a directory that exists"),
            ("sqlite:////", "must be a file in a directory that exists"),
            ("sqlite:///missing/tasks.db", "must be a file in a directory that exists"),
            (f"sqlite:///{'x' * 5000}", "must be a file in a directory that exists"),
        ],
    )
    def test_an_impossible_file_is_refused(self, url: str, reason: str) -> None:
        """A name that no file can have is found at the start."""
        message = refusal(url)

        assert message.startswith("DATABASE_URL: ")
        assert message.endswith(reason)

    def test_reading_the_setting_creates_no_file(self) -> None:
        """Creating a store does no I/O: its file is created at first use."""
        taskd_storage({"DATABASE_URL": "sqlite:///tasks.db"})
        taskd_storage({})

        assert [] == list(Path().iterdir())


def test_both_kinds_of_urls_make_a_store() -> None:
    """The storage plugin selects the database by the URL."""
    addresses = [
        taskd_storage({"DATABASE_URL": url}).database
        for url in ("sqlite:///tasks.db", "postgresql://alice@localhost/tasks")
    ]

    assert ["SQLiteDatabase", "PostgresDatabase"] == [type(address).__name__ for address in addresses]
