"""`python -m taskd` is `taskd`."""

from taskd.cli import main

main(prog_name="taskd")
