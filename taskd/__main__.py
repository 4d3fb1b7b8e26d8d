"""Make `python -m taskd` run the `taskd` command."""

from taskd.cli.main import main

main(prog_name="taskd")
