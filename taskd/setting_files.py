"""Read a setting from a file, as container platforms and service managers provide secrets."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILE", "SettingsError", "name_of_file", "text_in"]

# The end of the name of a variable that names a file.
FILE = "_FILE"
MAX_BYTES = 64 * 1024
UNNAMED = "the file (not named here: it may be a secret)"


class SettingsError(Exception):
    """
    A setting is missing or wrong, so the server does not start.

    Args:
        variable: The environment variable.
        message: What the variable should be.  The message must not quote a secret.

    Attributes:
        owner: The plugin that the setting belongs to; empty if it is the core's own.  Set by the core.
    """

    owner: str = ""

    def __init__(self, variable: str, message: str) -> None:
        super().__init__(f"{variable}: {message}")

    def __str__(self) -> str:
        """Return the message, with the owner of the setting."""
        return f"{super().__str__()} ({self.owner})" if self.owner else super().__str__()


def text_in(name: str, variable: str) -> str:
    """
    Return the text in the file *name*, without a newline at its end.

    Args:
        name: The path of the file.
        variable: The variable that holds it, for error messages.

    Raises:
        SettingsError: The file cannot be used.  The message quotes nothing from it.
    """
    try:
        text = _text(Path(name))
    except (OSError, ValueError) as error:
        raise SettingsError(variable, f"{name_of_file(name) or UNNAMED} {_reason(error)}") from None
    ending = "\r\n" if text.endswith("\r\n") else "\n"
    return text.removesuffix(ending)


def _text(path: Path) -> str:
    """Return the whole text in the file at *path*; raise `OSError` or `ValueError` if it cannot be a setting."""
    # Reading from a pipe, for example, might never end.
    if path.exists() and not path.is_file():
        raise ValueError("is a folder, not a file" if path.is_dir() else "is not a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES} bytes")
    # Some editors begin the file with a byte order mark.
    text = content.decode("utf-8-sig")
    if "\0" in text:
        raise ValueError("is not a text")
    if not text.strip():
        raise ValueError("is empty")
    return text


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not a text in UTF-8"
    return f"cannot be read: {error.strerror or type(error).__name__}" if isinstance(error, OSError) else str(error)


def name_of_file(name: str) -> str | None:
    """Return *name* to be shown; None if it may be the setting itself instead of the name of a file."""
    try:
        is_path = name.startswith(("/", "./", "../")) or Path(name).exists()
    except (OSError, ValueError):
        is_path = False
    if not is_path:
        return None
    return name if name.isprintable() else ascii(name)
