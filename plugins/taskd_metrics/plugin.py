"""The hooks that this plugin implements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from starlette.routing import Route

from taskd import hookimpl
from taskd.settings import load_settings
from taskd.telemetry import Measurement, Observer
from taskd_metrics.settings import MetricsSettings

try:
    from taskd_metrics.endpoint import metrics_route
    from taskd_metrics.numbers import Numbers
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] != "prometheus_client":
        raise
    raise ImportError("prometheus-client is not installed: pip install 'taskd-server[metrics]'") from None

__all__ = ["Metrics"]


class Metrics:
    """The plugin.  taskd makes an instance for each application, whose hooks share the numbers."""

    def __init__(self) -> None:
        self._numbers = Numbers()

    @hookimpl
    def taskd_observer(self, measurements: Callable[[], Iterable[Measurement]]) -> Observer:
        """Return what counts requests, and keep the source of all other numbers."""
        self._numbers.published = measurements
        return self._numbers.requests

    @hookimpl
    def taskd_routes(self, environ: Mapping[str, str]) -> list[Route]:
        """Return the route from which Prometheus reads the metrics."""
        return [metrics_route(self._numbers, load_settings(MetricsSettings, environ).token)]

    @hookimpl
    def taskd_lifespan(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[None]:
        """Return what shares the numbers with the other processes, if there are any."""
        return self._numbers.shared(load_settings(MetricsSettings, environ).folder)
