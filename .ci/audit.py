"""
Ask a vulnerability service about what is installed, with pip-audit, whose options this passes on.

The exit status is 1 if there is a known vulnerability, and 2 if the service could not be asked about everything: then
nothing is known about the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NoReturn

COMMAND = ["pip-audit", "--format", "json", "--progress-spinner", "off", "--timeout", "30"]
# It is what is being checked, and perhaps not published yet.
OURS = "taskd-server"


def main() -> None:
    """Print what is known, and exit with the status that says so."""
    asked = subprocess.run([*COMMAND, *sys.argv[1:]], capture_output=True, text=True, check=False)
    try:
        packages = [each for each in json.loads(asked.stdout)["dependencies"] if each["name"] != OURS]
    except (ValueError, KeyError):
        give_up(asked.stderr.strip()[-2000:])
    known = [(package, each) for package in packages for each in package.get("vulns", ())]
    for package, each in known:
        fixed = ", ".join(each["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    if known:
        sys.exit(1)
    # pip-audit itself ends with 0 if the service knows none of the packages, as behind a mirror.
    if skipped := [f"{each['name']}: {each['skip_reason']}" for each in packages if "skip_reason" in each]:
        give_up("\n".join([*skipped[:5], f"{len(skipped)} of {len(packages)} packages were not checked."]))
    print(f"No vulnerability is known in {len(packages)} packages.")


def give_up(reason: str) -> NoReturn:
    """Exit, because not everything could be asked."""
    print(reason, file=sys.stderr)
    print(
        "The vulnerability service could not be asked about everything, so this check has not passed.", file=sys.stderr
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
