"""Faults in who may do what."""

from __future__ import annotations

import re

import attrs

from taskd.conformance.sections import access, tokens
from tests.conformance.broken import Call, Request, Response, breaks, error
from tests.conformance.users import ME, OTHER, bearer

GOOD = bearer(ME)
CHALLENGE = 'Bearer realm="taskd", error="invalid_token", error_description="No."'


def refused(code: str) -> Response:
    return error(401, code).having(www_authenticate=CHALLENGE)


@breaks(access.no_credentials, access.wrong_user, tokens.missing, tokens.altered, tokens.other_schemes)
async def no_challenge(request: Request, call: Call) -> Response:
    return (await call(request)).without("www-authenticate")


@breaks(access.no_credentials, access.wrong_user, access.real_user, access.similar_users)
async def forbidden(request: Request, call: Call) -> Response:
    response = await call(request)
    return attrs.evolve(response, status=403) if response.status == 401 else response


@breaks(access.no_credentials)
async def missing_is_invalid(request: Request, call: Call) -> Response:
    response = await call(request)
    is_missing = response.status == 401 and response.fields.get("code") == "missing_credentials"
    return response.having(www_authenticate=CHALLENGE) if is_missing else response


@breaks(access.wrong_user, access.real_user, access.similar_users, tokens.another_user)
async def the_path_does_not_matter(request: Request, call: Call) -> Response:
    """Serves the tasks of the token's own user at every user's path."""
    user = next((user for user in (ME, OTHER) if request.header("authorization") == bearer(user)), None)
    path = re.sub("^/api/[^/]+/", f"/api/{user}/", request.path) if user else request.path
    return await call(attrs.evolve(request, path=path))


@breaks(access.real_user)
async def everyone_may_read(request: Request, call: Call) -> Response:
    for user in (ME, OTHER):
        if request.is_list and request.path.startswith(f"/api/{user}/") and request.header("authorization"):
            request = request.having(authorization=bearer(user))
    return await call(request)


@breaks(access.encoded_user)
async def the_path_is_not_decoded(request: Request, call: Call) -> Response:
    return refused("wrong_user") if re.match("/api/[^/]*%", request.path) else await call(request)


@breaks(access.similar_users)
async def users_in_any_case(request: Request, call: Call) -> Response:
    return await call(attrs.evolve(request, path=request.path.lower()))


async def _is_anothers(request: Request, response: Response, call: Call) -> bool:
    """Tell whether a 404 to a user is about a task that another user has."""
    if response.status != 404 or not request.path.startswith(f"/api/{ME}/"):
        return False
    theirs = request.get(request.task_path.replace(ME, OTHER)).having(authorization=bearer(OTHER))
    return (await call(theirs)).status == 200


@breaks(access.same_404)
async def others_tasks_are_forbidden(request: Request, call: Call) -> Response:
    response = await call(request)
    return attrs.evolve(response, status=403) if await _is_anothers(request, response, call) else response


@breaks(access.same_404)
async def others_tasks_have_a_header(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(x_owner="another") if await _is_anothers(request, response, call) else response


@breaks(access.same_404)
async def others_tasks_may_be_cached(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(cache_control="private") if await _is_anothers(request, response, call) else response


@breaks(access.separate_lists)
async def everyones_lists(request: Request, call: Call) -> Response:
    response = await call(request)
    if request.is_list and response.status == 200 and request.path.startswith(f"/api/{ME}/"):
        theirs = attrs.evolve(request, path=request.path.replace(ME, OTHER)).having(authorization=bearer(OTHER))
        return response.of([*response.json, *(await call(theirs)).json])
    return response


@breaks(access.same_id)
async def ids_of_everyone(request: Request, call: Call) -> Response:
    if request.is_creation and request.path.startswith(f"/api/{OTHER}/"):
        mine = request.get(request.path.replace(OTHER, ME)).having(authorization=GOOD)
        if (await call(mine)).status == 200:
            return error(412, "precondition_failed")
    return await call(request)


@breaks(tokens.scheme)
async def one_spelling_of_the_scheme(request: Request, call: Call) -> Response:
    value = request.header("authorization") or "Bearer "
    return await call(request) if value.startswith("Bearer ") else refused("missing_credentials")


@breaks(tokens.missing)
async def another_challenge(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.having(www_authenticate='Basic realm="x"') if response.status == 401 else response


@breaks(tokens.two_headers)
async def the_first_header_wins(request: Request, call: Call) -> Response:
    return await call(
        request.having(authorization=request.header("authorization") or "")
        if request.header("authorization")
        else request
    )


@breaks(tokens.elsewhere)
async def tokens_in_the_query(request: Request, call: Call) -> Response:
    token = dict(request.parameters).get("access_token")
    return await call(request.having(authorization=f"Bearer {token}") if token else request)


@breaks(tokens.elsewhere)
async def tokens_in_a_cookie(request: Request, call: Call) -> Response:
    found = re.search(r"session=([^;]+)", request.header("cookie") or "")
    return await call(request.having(authorization=f"Bearer {found[1]}") if found else request)


@breaks(tokens.altered)
async def no_signature_is_good(request: Request, call: Call) -> Response:
    """Accepts what begins like a good token, whatever its signature is."""
    payload = GOOD.rpartition(".")[0]
    is_mine = (request.header("authorization") or "").startswith(f"{payload}.")
    return await call(request.having(authorization=GOOD) if is_mine and not _is_doubled(request) else request)


def _is_doubled(request: Request) -> bool:
    return len([name for name, _ in request.headers if name == "authorization"]) > 1


@breaks(tokens.malformed)
async def the_beginning_is_enough(request: Request, call: Call) -> Response:
    is_mine = (request.header("authorization") or "").startswith(GOOD)
    return await call(request.having(authorization=GOOD) if is_mine and not _is_doubled(request) else request)


@breaks(tokens.malformed)
async def malformed_tokens_fail(request: Request, call: Call) -> Response:
    return error(500, "internal_error") if request.header("authorization") == "Bearer x" else await call(request)


@breaks(tokens.other_schemes)
async def no_scheme_is_needed(request: Request, call: Call) -> Response:
    value = request.header("authorization") or ""
    is_mine = value.removeprefix("Token ") == GOOD.removeprefix("Bearer ")
    return await call(request.having(authorization=GOOD) if is_mine else request)


@breaks(tokens.details)
async def one_detail_for_all(request: Request, call: Call) -> Response:
    response = await call(request)
    return response.given(detail="Not authenticated") if response.status == 401 else response


@breaks(tokens.details)
async def the_token_is_echoed(request: Request, call: Call) -> Response:
    response = await call(request)
    return (
        response.given(detail=f"Bad token: {request.header('authorization')}") if response.status == 401 else response
    )


@breaks(tokens.another_user)
async def no_error_for_another_user(request: Request, call: Call) -> Response:
    response = await call(request)
    is_other = response.fields.get("code") == "wrong_user"
    return response.having(www_authenticate='Bearer realm="taskd"') if is_other else response
