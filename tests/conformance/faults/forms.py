"""Faults in the form of errors, and in headers."""

from __future__ import annotations

import attrs

from taskd.conformance.sections import cors, errors, headers
from tests.conformance.broken import Call, Request, Response, breaks
from tests.conftest import ORIGIN

CORS = ("access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers")


@breaks(errors.form)
async def detail_is_a_list(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(detail=[response.json["detail"]]) if response.status == 422 else response


@breaks(errors.form, errors.field_errors)
async def no_codes(request: Request, call: Call) -> Response:
    response = await call(request)
    if response.status < 400 or not response.fields:
        return response
    return response.of({name: value for name, value in response.fields.items() if name != "code"})


@breaks(errors.form)
async def errors_in_plain_text(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.of(b"No.").having(content_type="text/plain") if response.status == 405 else response


@breaks(errors.form)
async def more_than_was_promised(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(stack="Traceback") if response.status >= 400 else response


@breaks(errors.field_errors)
async def errors_without_messages(request: Request, call: Call) -> Response:
    response = await call(request)
    if "errors" in response.fields:
        return response.given(errors=[{"field": each["field"]} for each in response.json["errors"]])
    return response


@breaks(errors.field_errors)
async def errors_everywhere(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(errors=[]) if response.status == 404 else response


@breaks(errors.all_fields)
async def the_first_field_only(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(errors=response.json["errors"][:1]) if "errors" in response.fields else response


@breaks(errors.all_fields)
async def fields_in_reverse(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(errors=response.json["errors"][::-1]) if "errors" in response.fields else response


@breaks(errors.kept_ids)
async def its_own_request_ids(request: Request, call: Call) -> Response:
    return await call(request.without("x-request-id"))


@breaks(errors.made_ids)
async def any_request_id(request: Request, call: Call) -> Response:
    response = await call(request)
    given = request.header("x-request-id")
    return response.having(x_request_id=given) if given else response


@breaks(errors.made_ids)
async def one_request_id_for_all(request: Request, call: Call) -> Response:
    return (await call(request)).having(x_request_id="always-the-same")


@breaks(errors.ids_of_errors)
async def no_request_id_of_errors(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.without("x-request-id") if response.status == 405 else response


@breaks(headers.nosniff)
async def errors_may_be_sniffed(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.without("x-content-type-options") if response.status == 404 else response


@breaks(headers.no_versions)
async def the_server_is_named(request: Request, call: Call) -> Response:
    return (await call(request)).having(server="nginx/1.24.0")


@breaks(headers.no_versions)
async def the_framework_is_named(request: Request, call: Call) -> Response:
    return (await call(request)).having(x_powered_by="Express 4.1")


@breaks(cors.foreign)
async def every_origin(request: Request, call: Call) -> Response:
    return (await call(request)).having(access_control_allow_origin="*")


@breaks(cors.foreign, cors.similar)
async def the_origin_that_asks(request: Request, call: Call) -> Response:
    origin = request.header("origin")
    response = await call(request)
    return response.having(access_control_allow_origin=origin) if origin else response


@breaks(cors.similar)
async def origins_by_prefix(request: Request, call: Call) -> Response:
    origin = request.header("origin") or ""
    response = await call(request)
    return response.having(access_control_allow_origin=origin) if origin.startswith(ORIGIN) else response


@breaks(cors.allowed)
async def errors_cannot_be_read(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.without(*CORS) if response.status == 401 else response


@breaks(cors.allowed)
async def nothing_is_exposed(request: Request, call: Call) -> Response:
    return (await call(request)).without("access-control-expose-headers")


@breaks(cors.allowed, cors.preflights)
async def no_credentials_from_pages(request: Request, call: Call) -> Response:
    return (await call(request)).without("access-control-allow-credentials")


@breaks(cors.preflights)
async def known_headers_only(request: Request, call: Call) -> Response:
    response = await call(request)
    is_preflight = response.header("access-control-allow-headers") is not None
    return response.having(access_control_allow_headers="Authorization, Content-Type") if is_preflight else response


@breaks(cors.preflights)
async def preflights_need_a_token(request: Request, call: Call) -> Response:
    if request.method == "OPTIONS" and request.header("authorization") is None:
        return attrs.evolve(await call(request.without("origin")), status=401)
    return await call(request)
