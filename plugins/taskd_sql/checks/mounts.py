"""Find out which kind of file system a folder is in."""

from __future__ import annotations

import os
from pathlib import Path

from taskd_sql.engine.sqlite_file import mount_id

__all__ = ["IN_MEMORY", "OF_CONTAINERS", "is_network", "kind_of"]

IN_MEMORY = frozenset({"ramfs", "tmpfs"})
OF_CONTAINERS = frozenset({"aufs", "fuse.fuse-overlayfs", "overlay"})
_NETWORK = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
)
# What follows "fuse.".
_NETWORK_IN_USER_SPACE = ("ceph", "glusterfs", "juicefs", "mount-s3", "rclone", "s3fs", "gcsfuse", "blobfuse", "sshfs")


def is_network(kind: str) -> bool:
    """Tell whether file systems of this *kind* are on other machines."""
    return kind in _NETWORK or kind.removeprefix("fuse.").startswith(_NETWORK_IN_USER_SPACE)


def kind_of(folder: Path) -> str:
    """Return the kind of *folder*'s file system, as in /proc/mounts; empty if that is unknown."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            number = mount_id(descriptor)
        finally:
            os.close(descriptor)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # /proc is not mounted
        return ""
    for line in lines:
        # proc_pid_mountinfo(5): the number is first, and the kind comes after a separator.
        own, _, about = line.partition(" - ")
        if number is not None and own.split()[0] == number.split()[1]:
            return about.split()[0]
    return ""
