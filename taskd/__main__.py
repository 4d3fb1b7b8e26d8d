"""`python -m taskd` is `taskd`."""

from taskd.cli.main import main

main(prog_name="taskd")
