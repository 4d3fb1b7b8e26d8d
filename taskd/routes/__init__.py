"""Describe endpoints, read bodies, parameters and preconditions, and write responses and errors as JSON."""

from taskd.routes.body import parse_body, read_body, receive_body
from taskd.routes.errors import NOTHING_HERE, ErrorBody, response_to_error
from taskd.routes.field_errors import FieldError, InvalidBody, InvalidParameter
from taskd.routes.forwarding import forward
from taskd.routes.lists import list_response, list_unmodified
from taskd.routes.negotiation import accept_weights, accepts_gzip
from taskd.routes.operations import Body, Returns, challenge_parameters, operation, public
from taskd.routes.parameters import QueryParameters, ReadBy
from taskd.routes.preconditions import IfMatch, is_unmodified, must_not_exist, version_tag, weak_version_tag
from taskd.routes.responses import JSONResponse, url_prefix
from taskd.routes.slices import in_slices

__all__ = [
    "NOTHING_HERE",
    "Body",
    "ErrorBody",
    "FieldError",
    "IfMatch",
    "InvalidBody",
    "InvalidParameter",
    "JSONResponse",
    "QueryParameters",
    "ReadBy",
    "Returns",
    "accept_weights",
    "accepts_gzip",
    "challenge_parameters",
    "forward",
    "in_slices",
    "is_unmodified",
    "list_response",
    "list_unmodified",
    "must_not_exist",
    "operation",
    "parse_body",
    "public",
    "read_body",
    "receive_body",
    "response_to_error",
    "url_prefix",
    "version_tag",
    "weak_version_tag",
]
