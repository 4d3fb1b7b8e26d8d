"""The sections of the contract that can be checked from outside."""

from __future__ import annotations

import enum

__all__ = ["Section"]


class Section(enum.Enum):
    """A section of the contract; its value is its heading."""

    ENDPOINTS = "Endpoints"
    TASK = "The task"
    LISTS = "Lists"
    SAFE_WRITES = "Safe writes"
    WHO_MAY = "Who may"
    ERRORS = "Errors"
    HEADERS = "Headers"

    @property
    def option(self) -> str:
        """The name of the section on the command line."""
        return self.value.removeprefix("The ").lower().replace(" ", "-")
