"""Certificates of private authorities: every Python accepts the same, for the database and the key endpoint."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from taskd import build_app
from taskd.testing import lifespan
from taskd.tls import tls_context
from taskd_sql.engine import tls
from tests.conftest import SECRET, client_of
from tests.jwt.test_jwks_network import answering
from tests.support.doctor import PASSWORD, examined
from tests.support.issuer import Issuer
from tests.support.key_endpoint import status
from tests.support.proxy import listening, listening_like_postgres

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("_once")]


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365))
    )


@pytest.fixture
def certificates_like_the_manual(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """
    Create an authority and a server's certificate as in PostgreSQL's manual (section 18.9.5).

    The authority has the extensions of `v3_ca` in `openssl.cnf`, without a key usage; the server's has no extensions.
    """
    root_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _certificate("root", root_key, "root")
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    server = _certificate("localhost", server_key, "root").sign(root_key, hashes.SHA256())
    (tmp_path / "root.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "server.pem").write_bytes(
        server_key.private_bytes(*pem) + server.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return tmp_path / "root.crt", context


@pytest.fixture
def intermediate_without_its_root(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Create an intermediate authority that is trusted without its root, and a certificate of it for a server."""
    authority = trustme.CA().create_child_ca()
    authority.cert_pem.write_to_path(tmp_path / "child.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return tmp_path / "child.crt", context


@pytest.mark.parametrize(
    ("made", "is_taken"), [("certificates_like_the_manual", True), ("intermediate_without_its_root", False)]
)
async def test_the_database_s_certificate(request: pytest.FixtureRequest, made: str, *, is_taken: bool) -> None:
    """`sslrootcert` accepts and refuses the same certificates as libpq."""
    authority, context = request.getfixturevalue(made)

    async with listening_like_postgres(context) as port:
        url = f"postgresql://u:{PASSWORD}@localhost:{port}/d?sslmode=verify-full&sslrootcert={authority}"
        report = await asyncio.to_thread(examined, url, TASKD_SQL_CONNECT_TIMEOUT="1")

    assert ("ok" if is_taken else "FAILED") == report.outcomes["tls"], report.text


@pytest.mark.parametrize(
    ("made", "is_taken"), [("certificates_like_the_manual", True), ("intermediate_without_its_root", False)]
)
async def test_the_key_endpoint_s_certificate(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, made: str, *, is_taken: bool
) -> None:
    """`SSL_CERT_FILE` accepts and refuses the same certificates."""
    authority, context = request.getfixturevalue(made)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    issuer = Issuer(("ES256",))
    async with listening(answering(json.dumps(issuer.document()).encode()), context) as port:
        origin = f"https://localhost:{port}"
        app = build_app({"BETTER_AUTH_URL": origin, "BETTER_AUTH_SECRET": SECRET})
        async with lifespan(app), client_of(app) as client:
            token = issuer.sign({"iss": origin, "aud": origin}, "ES256")

            assert (200 if is_taken else 503) == await status(client, token)


def test_all_pythons_have_the_same_rules() -> None:
    """Verification does not depend on the defaults of the Python that runs."""
    for context in (tls.context("verify-full"), tls_context()):
        assert ssl.VERIFY_X509_TRUSTED_FIRST == context.verify_flags
        assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
