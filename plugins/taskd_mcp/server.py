"""
Serve the tools over HTTP, with the official SDK.

No state is kept between requests, so it does not matter which process serves them.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from mcp.server import Server, ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as DescribedTool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from taskd.routes import FieldError, InvalidBody, response_to_error
from taskd.storage import TaskStore
from taskd_mcp.calls import Call
from taskd_mcp.schemas import schema
from taskd_mcp.settings import MCPSettings
from taskd_mcp.tools import TOOLS, Tool

__all__ = ["MCPEndpoint"]

INSTRUCTIONS = "The tasks of the user who is signed in. Times are in UTC; pass times with an offset."
# What the API documents call the version; that of the server is not public.
API_VERSION = "2"
# Twice as much as the body of any other request.
MAX_BODY_BYTES = 128 * 1024
# The SDK's pattern for any port.
_LOOPBACK = [f"{host}{port}" for host in ("127.0.0.1", "localhost", "[::1]") for port in ("", ":*")]

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]


class MCPEndpoint:
    """The ASGI app that serves the tools, while its lifespan lasts."""

    def __init__(self, store: TaskStore, settings: MCPSettings, origins: Sequence[str]) -> None:
        """
        Serve the tasks in *store*.

        Args:
            store: The store.
            settings: Where the endpoint is.
            origins: The origins whose pages may use it.
        """
        self._store = store
        self._security = _security(settings, origins)
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what the SDK needs in the background."""
        server = Server(
            "taskd",
            version=API_VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )
        manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            security_settings=self._security,
            max_request_body_size=MAX_BODY_BYTES,
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the SDK."""
        if self._manager is None:
            raise RuntimeError("the MCP endpoint needs a server that runs the ASGI lifespan")
        await self._manager.handle_request(scope, receive, send)

    async def _list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=_DESCRIBED)

    async def _call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"There is no such tool, only {', '.join(TOOLS)}.")
        request = cast("Request", context.request)
        try:
            result = await tool.run(Call(request, self._store, params.arguments or {}))
        except Exception as error:  # noqa: BLE001  whatever it is, the assistant must learn that the call failed
            return await _failure(request, tool, error)
        return _result(msgspec.json.encode(result))


def _security(settings: MCPSettings, origins: Sequence[str]) -> TransportSecuritySettings:
    """Return which `Host` and `Origin` headers are accepted."""
    pages = [f"http://{host}" for host in _LOOPBACK]
    public = [] if settings.url is None else [settings.url.origin]
    hosts = [origin.partition("://")[2] for origin in public]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*_LOOPBACK, *hosts],
        allowed_origins=[*pages, *public, *origins],
    )


async def _failure(request: Request, tool: Tool, error: Exception) -> CallToolResult:
    """Return the body of the response that the API would send for *error*."""
    if isinstance(error, InvalidBody):
        named = [("arguments" if each.field == "body" else each.field, each.message) for each in error.errors]
        error = InvalidBody(*(FieldError(*each) for each in named))
    response = await response_to_error(request, error)
    if response.status_code == 500:
        logger.error("%s failed", tool.name, exc_info=error)
    return _result(bytes(response.body), is_error=True)


def _result(encoded: bytes, *, is_error: bool = False) -> CallToolResult:
    """Return a result both as a value and, for clients that do not read that, as text."""
    return CallToolResult(
        content=[TextContent(text=encoded.decode())], structured_content=json.loads(encoded), is_error=is_error
    )


def _described(tool: Tool) -> DescribedTool:
    hints = ToolAnnotations(
        read_only_hint=tool.only_reads,
        destructive_hint=tool.destroys,
        idempotent_hint=tool.is_repeatable,
        open_world_hint=False,
    )
    return DescribedTool(
        name=tool.name,
        description=inspect.getdoc(tool.run),
        input_schema=schema(tool.accepts),
        output_schema=schema(tool.returns),
        annotations=hints,
    )


_DESCRIBED = [_described(tool) for tool in TOOLS.values()]
