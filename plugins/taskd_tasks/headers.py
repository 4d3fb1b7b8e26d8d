"""The headers of requests and responses, described for the API document."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

__all__ = [
    "CreateHeader",
    "ETag",
    "IdempotencyKeyHeader",
    "IfMatchHeader",
    "IfNoneMatchHeader",
    "Link",
    "ListETag",
    "Location",
    "TotalCount",
]

Location = Annotated[str, Meta(description="The URL of the task.")]
ETag = Annotated[
    str, Meta(description="The task's `version`, in quotes, for `If-Match` and `If-None-Match`.", examples=['"42"'])
]
ListETag = Annotated[
    str, Meta(description="Changes whenever one of the user's tasks does; for `If-None-Match`.", examples=['W/"42"'])
]
IfMatchHeader = Annotated[
    str,
    Meta(
        description="The `ETag` of the version that you have. If the task has changed since, the response is a 412, and"
        " nothing is stored (RFC 9110, section 13.1.1).",
        examples=['"42"'],
    ),
]
IfNoneMatchHeader = Annotated[
    str,
    Meta(
        description="The `ETag` of the response that you have. If nothing has changed since, the response is a 304"
        " without a body (RFC 9110, section 13.1.2). Browsers send this header by themselves.",
    ),
]
CreateHeader = Annotated[
    str,
    Meta(description="`*` creates the task under the id in the path; 412 if there is one. Anything else is ignored."),
]
IdempotencyKeyHeader = Annotated[
    str,
    Meta(
        description="A text of your choice, such as a random UUID. For at least 24 hours, repeating the request with"
        " the same key and exactly the same body creates no second task. Quotes around the key are ignored.",
        examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
        extra_json_schema={"pattern": '^("[!-~]{1,255}"|[!-~]{1,255})$', "not": {"const": '""'}},
    ),
]
Link = Annotated[
    str,
    Meta(
        description="The next page (RFC 8288): a reference relative to the URL of the request, with"
        ' `rel="next"`. The last page has no link.'
    ),
]
TotalCount = Annotated[int, Meta(description="How many tasks there are on all pages, if `count` is true.", ge=0)]
