"""What is traced of a request and of its calls of the store, and what never is."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id

from taskd import build_app
from taskd.application import Application
from taskd.logs import JSONFormatter
from taskd.settings import SettingsError
from taskd.storage import StoreUnavailable
from taskd.testing import lifespan
from taskd_otel.plugin import OTel
from tests.conftest import ORIGIN, PATIENT, SECRET, client_of
from tests.support.third_parties import Site, hook_source

pytestmark = pytest.mark.anyio

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET_TEXT = "hunter2"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", "BETTER_AUTH_SECRET": SECRET, "FRONTEND_URL": ORIGIN}
    chosen = {"TASKD_MIDDLEWARE": "otel", "TASKD_STORE_WRAPPERS": "otel", "OTEL_TRACES_EXPORTER": "none"}
    return {**settings, **PATIENT, **chosen}


@attrs.frozen
class Traced:
    """A client of an application, and the spans that its requests have made."""

    client: httpx.AsyncClient
    spans: InMemorySpanExporter

    def named(self, name: str) -> ReadableSpan:
        """Return the only span of this *name*."""
        [found] = [span for span in self.spans.get_finished_spans() if span.name == name]
        return found

    @property
    def names(self) -> list[str]:
        """The names of all spans, in the order in which they ended."""
        return [span.name for span in self.spans.get_finished_spans()]


def traced(app: Application, client: httpx.AsyncClient) -> Traced:
    """Keep the spans of *app* in memory."""
    [loaded] = [each for each in app.plugins.loaded if each.plugin.name == "otel"]
    plugin: Any = loaded._manager.get_plugin("otel")
    assert isinstance(plugin, OTel)
    spans = InMemorySpanExporter()
    plugin.tracing.provider.add_span_processor(SimpleSpanProcessor(spans))
    return Traced(client, spans)


@contextlib.asynccontextmanager
async def serving(environ: dict[str, str]) -> AsyncIterator[Traced]:
    """Serve alice, and keep the spans."""
    app = build_app(environ)
    async with lifespan(app), client_of(app, "alice") as client:
        yield traced(app, client)


@pytest.fixture
async def served(environ: dict[str, str]) -> AsyncIterator[Traced]:
    async with serving(environ) as made:
        yield made


class TestSpans:
    async def test_a_request_has_a_span_and_so_has_each_call_of_the_store(self, served: Traced) -> None:
        """The span of the request is named after its route, and is the parent of the others."""
        await served.client.get("/api/alice/tasks")

        assert ["store.list", "GET /api/{user_id}/tasks"] == served.names
        request, call = served.named("GET /api/{user_id}/tasks"), served.named("store.list")
        assert SpanKind.SERVER is request.kind
        assert request.attributes is not None
        assert call.attributes is not None
        assert call.parent is not None
        assert ("/api/{user_id}/tasks", 200) == (
            request.attributes["http.route"],
            request.attributes["http.status_code"],
        )
        assert request.context.span_id == call.parent.span_id
        assert 0 == call.attributes["taskd.store.tasks"]
        assert "taskd" == request.resource.attributes["service.name"]

    async def test_a_trace_goes_on(self, served: Traced) -> None:
        """The span belongs to the trace that the request names (W3C Trace Context)."""
        await served.client.get("/api/alice/tasks", headers={"traceparent": PARENT})

        request = served.named("GET /api/{user_id}/tasks")
        assert request.parent is not None
        assert PARENT == f"00-{format_trace_id(request.context.trace_id)}-{request.parent.span_id:016x}-01"

    @pytest.mark.parametrize(("flags", "names"), [("01", ["store.list", "GET /api/{user_id}/tasks"]), ("00", [])])
    async def test_the_sender_of_a_trace_decides(self, flags: str, names: list[str], served: Traced) -> None:
        """Unless the sampler says otherwise, a request is traced if the one that caused it is."""
        await served.client.get("/api/alice/tasks", headers={"traceparent": f"{PARENT[:-2]}{flags}"})

        assert names == served.names

    @pytest.mark.parametrize(
        "headers",
        [{"traceparent": "0" * 600}, {"traceparent": PARENT, "tracestate": SECRET_TEXT}, {"baggage": SECRET_TEXT}],
        ids=" ".join,
    )
    async def test_malformed_headers_are_ignored(
        self, served: Traced, headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nobody can fill the log with them."""
        assert 200 == (await served.client.get("/api/alice/tasks", headers=headers)).status_code
        assert "" == caplog.text

    async def test_what_is_not_sampled_costs_no_spans(
        self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither the request nor its calls of the store have one."""
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        async with serving(environ) as served:
            await served.client.get("/api/alice/tasks")

        assert [] == served.names

    async def test_nothing_private_is_recorded(self, served: Traced) -> None:
        """Neither texts of tasks, nor ids of users and tasks, nor queries, tokens and addresses."""
        created = await served.client.post("/api/alice/tasks", json={"title": SECRET_TEXT})
        await served.client.get(f"/api/alice/tasks/{created.json()['id']}")
        await served.client.get(f"/api/alice/tasks?search={SECRET_TEXT}")
        await served.client.get(f"/{SECRET_TEXT}")
        await served.client.get("/api/bob/tasks", headers={"Authorization": f"Bearer {SECRET_TEXT}"})

        recorded = "".join(span.to_json() for span in served.spans.get_finished_spans())
        assert 8 == len(served.names)
        private = (SECRET_TEXT, "alice", "bob", created.json()["id"], "Bearer", "127.0.0.1")
        assert [] == [text for text in private if text in recorded]

    async def test_credentials_are_not_recorded_with_the_headers(
        self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenTelemetry's own setting may record all others."""
        monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", ".*")
        async with serving(environ) as served:
            await served.client.get(
                "/api/alice/tasks", headers={"X-Tenant": "acme", "Cookie": f"session={SECRET_TEXT}"}
            )

        recorded = "".join(span.to_json() for span in served.spans.get_finished_spans())
        assert "acme" in recorded
        assert [] == [text for text in (SECRET_TEXT, "Bearer") if text in recorded]

    async def test_health_checks_are_not_traced(self, served: Traced) -> None:
        """Supervisors ask all the time."""
        await served.client.get("/livez")
        await served.client.get("/readyz")

        assert [] == served.names

    @pytest.mark.parametrize(("users", "name"), [("id", "enduser.id"), ("hash", "enduser.pseudo.id")])
    async def test_users_are_recorded_if_the_setting_says_so(
        self, environ: dict[str, str], users: str, name: str
    ) -> None:
        """As they are, or as hashes."""
        async with serving({**environ, "TASKD_OTEL_USERS": users}) as served:
            await served.client.get("/api/alice/tasks")

        attributes = served.named("GET /api/{user_id}/tasks").attributes
        assert attributes is not None
        assert (users == "id") == (attributes[name] == "alice")
        assert {"enduser.id", "enduser.pseudo.id"} & set(attributes) == {name}


class TestFailures:
    async def test_what_a_store_refuses_is_no_failure(self, served: Traced) -> None:
        """A task that does not exist, for example, is a result."""
        await served.client.get("/api/alice/tasks/0190163d-8694-739b-aea5-966c26f8ad91")

        call = served.named("store.get")
        assert call.attributes is not None
        assert ("TaskNotFound", StatusCode.UNSET) == (call.attributes["taskd.store.result"], call.status.status_code)

    async def test_a_failure_has_its_type_but_no_text(
        self, served: Traced, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The message may quote a task; the log has it."""
        app: Any = served.client._transport
        monkeypatch.setattr(type(app.app.store.store.store), "list", _fail)
        response = await served.client.get("/api/alice/tasks")

        assert 500 == response.status_code
        for name in ("store.list", "GET /api/{user_id}/tasks"):
            span = served.named(name)
            assert span.attributes is not None
            assert ("ZeroDivisionError", StatusCode.ERROR) == (span.attributes["error.type"], span.status.status_code)
            assert SECRET_TEXT not in span.to_json()
        assert SECRET_TEXT in caplog.text

    async def test_an_outage_is_a_failure(self, served: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both spans say so: the request gets a 503."""
        app: Any = served.client._transport
        monkeypatch.setattr(type(app.app.store.store.store), "list", _be_down)
        await served.client.get("/api/alice/tasks")

        names = ("store.list", "GET /api/{user_id}/tasks")
        assert [StatusCode.ERROR] * 2 == [served.named(name).status.status_code for name in names]


async def _fail(*_: object) -> None:
    raise ZeroDivisionError(SECRET_TEXT)


async def _be_down(*_: object) -> None:
    raise StoreUnavailable("the database is down")


class TestLogs:
    async def test_lines_for_machines_name_the_trace(self, served: Traced, caplog: pytest.LogCaptureFixture) -> None:
        """So a line leads to its trace, and a trace to its lines."""
        caplog.set_level(logging.INFO)
        await served.client.get("/api/alice/tasks", headers={"traceparent": PARENT, "Authorization": "Bearer x"})

        [line] = [record for record in caplog.records if record.name == "taskd.auth"]
        shown = json.loads(JSONFormatter().format(line))
        request = served.named("GET /api/{user_id}/tasks")
        assert PARENT.split("-")[1] == shown["trace_id"]
        assert f"{request.context.span_id:016x}" == shown["span_id"]


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("OTEL_TRACES_EXPORTER", "zipkin", "must be otlp or console or none"),
            ("TASKD_OTEL_USERS", "yes", "must be none or hash or id"),
            ("OTEL_SERVICE_NAME", "tasks", "is in .env, which OpenTelemetry does not read"),
        ],
    )
    def test_wrong_settings_are_refused(self, environ: dict[str, str], name: str, value: str, message: str) -> None:
        """So are those for the SDK that it would not see."""
        with pytest.raises(SettingsError, match=f"{name}: {message}"):
            build_app({**environ, name: value})

    async def test_the_name_of_the_service_can_be_set(
        self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The SDK's own variables are used as everywhere."""
        monkeypatch.setenv("OTEL_SERVICE_NAME", "todo")
        async with serving(environ) as served:
            await served.client.get("/api/alice/tasks")

        assert "todo" == served.named("store.list").resource.attributes["service.name"]

    def test_nothing_is_imported_unless_it_is_named(self, environ: dict[str, str]) -> None:
        """Then nothing is traced."""
        app = build_app({**environ, "TASKD_MIDDLEWARE": "", "TASKD_STORE_WRAPPERS": ""})

        assert "otel" not in {each.plugin.name for each in app.plugins.loaded}


@attrs.frozen
class Collector:
    """What a collector at *url* has received."""

    url: str
    requests: list[ExportTraceServiceRequest]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """An OTLP collector, over HTTP."""
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(content))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Collector(f"http://127.0.0.1:{server.server_port}", received)
        server.shutdown()
        thread.join()


async def test_spans_are_sent_to_a_collector_before_the_server_stops(
    collector: Collector, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is, the SDK's variables say; the last spans are not lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    app = build_app({**environ, "OTEL_TRACES_EXPORTER": "otlp"})
    async with lifespan(app), client_of(app, "alice") as client:
        await client.get("/api/alice/tasks")

    [request] = collector.requests
    names = {span.name for part in request.resource_spans for scope in part.scope_spans for span in scope.spans}
    assert {"GET /api/{user_id}/tasks", "store.list"} == names


# Refuses all requests.
REFUSING = """
from starlette.exceptions import HTTPException

class Refusing:
    def __init__(self, app):
        pass

    async def __call__(self, scope, receive, send):
        raise HTTPException(401)
"""


async def test_a_refusal_by_other_middleware_is_no_failure(site: Site, environ: dict[str, str]) -> None:
    """The span has its status, and no route: none was looked up."""
    site.install("refusing", REFUSING + hook_source("taskd_middleware", "return Refusing"), group="taskd.on_demand")
    async with serving({**environ, "TASKD_MIDDLEWARE": "otel,refusing"}) as served:
        await served.client.get("/api/alice/tasks")

    span = served.named("GET")
    assert span.attributes is not None
    assert (401, StatusCode.UNSET) == (span.attributes["http.status_code"], span.status.status_code)
