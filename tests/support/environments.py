"""Virtual environments in which tests install distributions, without downloading anything."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

__all__ = ["make_environment"]

# What the scripts run, each with the arguments that come first.
SCRIPTS = {
    "taskd": ("taskd.cli.main:main", ()),
    "pytest": ("pytest:main", ()),
    # All requirements, and what builds distributions, are among the packages that are visible already.
    "pip": ("pip._internal.cli.main:main", ("install", "--no-index", "--no-build-isolation")),
}


def make_environment(folder: Path) -> Path:
    """
    Make a virtual environment that sees the packages of the one that is running; return its folder of programs.

    `--system-site-packages` would show those of the interpreter below, if this one is in a virtual environment.
    """
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    here = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", here))
    ours = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    # `addsitedir` also reads the folders' own `.pth` files, to which editable installations belong.
    lines = [f"import site; site.addsitedir({each!r})" for each in sorted(ours)]
    (packages / "visible.pth").write_text("\n".join([*lines, ""]))
    for name, (target, options) in SCRIPTS.items():
        write_script(programs / name, programs / "python", target, options)
    return programs


def write_script(path: Path, python: Path, target: str, options: tuple[str, ...]) -> None:
    """Write a program that calls *target*, as pip does; *options* take the place of the first argument."""
    module, function = target.split(":")
    path.write_text(
        f"#!{python}\nimport sys\nfrom {module} import {function}\n"
        f"sys.argv[1:{len(options) and 2}] = {list(options)!r}\nsys.exit({function}())\n"
    )
    path.chmod(0o755)
