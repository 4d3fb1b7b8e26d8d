"""Files that do not change while the server runs: held in memory, compressed once, and not sent to who has them."""

from __future__ import annotations

import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse

from taskd_docs.negotiation import weights

__all__ = ["File", "paths"]

_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml"}

_OWN = Path(__file__).parent / "static"
_OWN_NAMES = ("icon.svg", "page.css", "page.js")
_SWAGGER_UI_NAMES = ("swagger-ui-bundle.js", "swagger-ui.css")


@attrs.frozen
class File:
    """The *content* of a file, as it is and compressed."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """Prepare the *content* of the file *name*.  For a megabyte, it takes some 50 ms."""
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        # Weak (RFC 9110, section 8.8.1): it is the same for both forms.
        return cls(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[Path(name).suffix], f'W/"{digest}"')

    def answer(self, request: Request) -> Response:
        """Answer *request* with it, or with 304 if the client's own is still good."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        content = self.content
        if weights(request.headers.get("accept-encoding", "")).get("gzip"):
            content = self.compressed
            headers["Content-Encoding"] = "gzip"
        answer = Response(content, headers=headers, media_type=self.media_type)
        # Weakly (RFC 9110, section 8.8.3.2): `W/` makes no difference.
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if known & {self.etag.removeprefix("W/"), "*"}:
            return NotModifiedResponse(answer.headers)
        return answer


def paths() -> dict[str, Path]:
    """
    Return where the files of the page are, by name: our own, and those of Swagger UI.

    Raises:
        ModuleNotFoundError: The package that Swagger UI comes in is not installed.
        FileNotFoundError: It is not as it was.
    """
    # Its files are all that is wanted of it: it is not imported, nor is Flask.
    package = find_spec("flask_swagger_ui")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("flask-swagger-ui is not installed")
    swagger_ui = Path(package.origin).parent / "dist"
    found = {name: _OWN / name for name in _OWN_NAMES} | {name: swagger_ui / name for name in _SWAGGER_UI_NAMES}
    if missing := [name for name, path in found.items() if not path.is_file()]:
        raise FileNotFoundError(f"{', '.join(missing)} cannot be found")
    return found
