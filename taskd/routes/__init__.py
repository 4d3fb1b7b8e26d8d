"""Describe endpoints, read bodies, and write responses and errors as JSON."""

from taskd.routes.body import FieldError, InvalidBody, read_body
from taskd.routes.errors import NOTHING_HERE, ErrorBody
from taskd.routes.operations import Body, Returns, operation, public
from taskd.routes.responses import JSONResponse, list_response, url_prefix
from taskd.routes.slices import in_slices

__all__ = [
    "NOTHING_HERE",
    "Body",
    "ErrorBody",
    "FieldError",
    "InvalidBody",
    "JSONResponse",
    "Returns",
    "in_slices",
    "list_response",
    "operation",
    "public",
    "read_body",
    "url_prefix",
]
