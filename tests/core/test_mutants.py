"""Test that the list of mutants fits the code; `tox -e mutants` runs them."""

from __future__ import annotations

import pytest

from tests.support.mutants import Mutant


@pytest.mark.parametrize("mutant", Mutant.all(), ids=lambda mutant: mutant.fault)
def test_a_mutant_can_be_created(mutant: Mutant) -> None:
    """The text that each mutant replaces is in the code exactly once."""
    assert mutant.obstacle() is None
