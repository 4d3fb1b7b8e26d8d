"""Rewrite the tables of docs/reference/settings.md and docs/reference/errors.md from the code."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support import errors_reference, settings_reference

for reference in (settings_reference, errors_reference):
    reference.PAGE.write_text(reference.written(reference.PAGE.read_text()))
