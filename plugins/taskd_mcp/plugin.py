"""The hooks that this plugin implements."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from starlette.routing import Route

from taskd import hookimpl
from taskd.routes import challenge_parameters
from taskd.settings import Settings, load_settings
from taskd.storage import TaskStore
from taskd_mcp.metadata import Metadata
from taskd_mcp.settings import PATH, MCPSettings

try:
    from taskd_mcp.server import MCPEndpoint
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in ("mcp", "mcp_types"):
        raise
    raise ImportError("the MCP SDK is not installed: pip install 'taskd-server[mcp]'") from None

__all__ = ["MCP"]


class MCP:
    """The plugin.  taskd makes an instance for each application, whose hooks share the endpoint."""

    def __init__(self) -> None:
        self._made: MCPEndpoint | None = None

    @hookimpl
    def taskd_routes(self, store: TaskStore, environ: Mapping[str, str]) -> list[Route]:
        """Return the route of the endpoint, and if there is an OAuth server, those of the metadata."""
        settings = load_settings(MCPSettings, environ)
        settings.check()
        endpoint, others = self._endpoint(store, environ), []
        if settings.url is not None and settings.auth_server is not None:
            metadata = Metadata(settings.url, settings.auth_server)
            endpoint = challenge_parameters(endpoint, resource_metadata=metadata.location)
            others = metadata.routes()
        return [Route(PATH, endpoint, methods=["POST"], include_in_schema=False), *others]

    @hookimpl
    def taskd_lifespan(self, store: TaskStore, environ: Mapping[str, str]) -> AbstractAsyncContextManager[None]:
        """Return what runs the endpoint."""
        return self._endpoint(store, environ).running()

    def _endpoint(self, store: TaskStore, environ: Mapping[str, str]) -> MCPEndpoint:
        """Return the endpoint of this application; whichever hook is called first makes it."""
        if self._made is None:
            origins = load_settings(Settings, environ).frontend_origins
            self._made = MCPEndpoint(store, load_settings(MCPSettings, environ), origins)
        return self._made
