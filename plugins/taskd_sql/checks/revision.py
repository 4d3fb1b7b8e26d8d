"""Check the revision of a schema."""

from __future__ import annotations

from collections.abc import Collection

from taskd.checks import Check, Outcome
from taskd_sql.schema import VERSION_TABLE, is_newer, table_error, version_error

__all__ = ["REVISION", "check_revision"]

REVISION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  our own name


def check_revision(revision: str | None, columns: Collection[str]) -> Check:
    """Check the *revision* in the version table of a database whose table `tasks` has these *columns*."""
    wrong_version = version_error(revision)
    if wrong_version and is_newer(revision):
        return Check("schema", Outcome.FAILED, wrong_version, "Update taskd.")
    if wrong_tables := table_error(revision, columns):
        return Check("schema", Outcome.FAILED, *wrong_tables)
    if wrong_version:
        return Check("schema", Outcome.FAILED, wrong_version, "Run taskd migrate.")
    ahead = ", ahead of this taskd, but compatible with it" if is_newer(revision) else ""
    return Check("schema", Outcome.OK, f"revision {revision}{ahead}")
