"""Rewrite the tables of docs/reference/settings.md from the help text of each setting."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.settings_reference import PAGE, written

PAGE.write_text(written(PAGE.read_text()))
