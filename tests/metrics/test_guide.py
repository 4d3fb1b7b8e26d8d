"""docs/guides/monitoring.md, its dashboard and its alert rules say what taskd really publishes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from taskd import build_app
from taskd.testing import lifespan
from tests.conftest import client_of
from tests.metrics import TOKEN
from tests.support.documentation import ROOT
from tests.support.issuer import URL, Issuer, published
from tests.support.requirements import required

pytestmark = pytest.mark.anyio

GUIDE = ROOT / "docs" / "guides" / "monitoring.md"
ALERTS = GUIDE.with_suffix("") / "alerts.yml"
DASHBOARD = GUIDE.with_suffix("") / "dashboard.json"
# What Prometheus itself adds.
BY_PROMETHEUS = {"up": set[str]()}
LABELS_BY_PROMETHEUS = {"job", "instance"}
# What Grafana replaces in a query.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


@pytest.fixture
async def exported(environ: dict[str, str]) -> Mapping[str, Metric]:
    """All metrics of a server that has served a request with a published key."""
    issuer = Issuer(("EdDSA",))
    app = build_app({**environ, "BETTER_AUTH_URL": URL})
    with published(issuer):
        async with lifespan(app), client_of(app) as client:
            await client.get("/api/alice/tasks", headers={"Authorization": f"Bearer {issuer.sign()}"})
            await client.post(
                "/api/alice/tasks", headers={"Authorization": f"Bearer {issuer.sign()}"}, json={"title": "T"}
            )
            text = (await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(exported: Mapping[str, Metric]) -> Mapping[str, set[str]]:
    """Return the labels of each sample that Prometheus stores, by its name."""
    found: dict[str, set[str]] = dict(BY_PROMETHEUS)
    for metric in exported.values():
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title and the query of each panel, and the name and the expression of each alert."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            yield panel["title"], query
    for rule in rules():
        yield rule["alert"], rule["expr"]


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def rows(name: str) -> list[list[str]]:
    """Return the cells of the guide's table that its comment *name* announces, row by row."""
    section = GUIDE.read_text().split(f"<!-- {name} -->\n", 1)[1].split("<!-- end -->", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


async def test_the_guide_lists_all_metrics_with_their_labels(exported: Mapping[str, Metric]) -> None:
    """No other is exported, and none is missing."""
    listed = {
        name.removesuffix("_total"): set(re.findall(r"`(\w+)`", labels))
        for names, labels, _ in rows("metrics")
        for name in re.findall(r"`(\w+)`", names)
    }

    assert listed == {
        name: {label for sample in metric.samples for label in sample.labels} - {"le"}
        for name, metric in exported.items()
    }


async def test_the_queries_use_what_is_exported(exported: Mapping[str, Metric]) -> None:
    """Each name in the dashboard and in the rules is that of a sample, and each label one of its labels."""
    known = samples(exported)
    labels = set().union(*known.values()) | LABELS_BY_PROMETHEUS
    for title, query in queries():
        names = set(re.findall(r"\b(?:taskd|process|up)(?:_\w+)?\b(?!\")", re.sub(r'"[^"]*"', '""', query)))
        used = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", query))
        for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
            used |= {each.strip() for each in grouped.split(",")}
        assert names, title
        assert set() == names - set(known), title
        assert set() == used - labels, title


async def test_each_metric_of_taskd_is_in_the_dashboard(exported: Mapping[str, Metric]) -> None:
    """Or in an alert."""
    used = " ".join(query for _, query in queries())

    assert [] == [name for name in exported if name.startswith("taskd_") and name not in used]


def test_each_alert_is_explained() -> None:
    """The guide has the same ones, in the same order, and says what to do."""
    assert [f"`{rule['alert']}`" for rule in rules()] == [row[0] for row in rows("alerts")]
    assert all(len(meaning) > 40 < len(remedy) for _, meaning, remedy in rows("alerts"))


def test_prometheus_can_run_the_queries(tmp_path: Path) -> None:
    """Its own tool checks the alert rules, and the dashboard's queries as if they were rules."""
    promtool = required("promtool")
    recorded = [{"record": f"panel:{number}", "expr": query} for number, (_, query) in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))

    for rules_file in (ALERTS, file):
        subprocess.run([promtool, "check", "rules", rules_file], check=True, stdout=subprocess.DEVNULL)


# What Prometheus has stored, a sample a minute, and which alerts it raises at a certain minute.
FIRING = {
    "TaskdDown": ({'up{job="taskd"}': "0x20"}, 3),
    "TaskdFailing": (
        {
            'taskd_http_requests_total{job="taskd",status="500"}': "0+2x20",
            'taskd_http_requests_total{job="taskd",status="200"}': "0+100x20",
        },
        15,
    ),
    "TaskdSlow": (
        {
            'taskd_http_request_duration_seconds_bucket{job="taskd",le="1"}': "0+90x30",
            'taskd_http_request_duration_seconds_bucket{job="taskd",le="2.5"}': "0+100x30",
            'taskd_http_request_duration_seconds_bucket{job="taskd",le="+Inf"}': "0+100x30",
        },
        25,
    ),
    "TaskdOverloaded": ({'taskd_http_requests_waiting{job="taskd",gate="reads"}': "3x20"}, 10),
    "TaskdConnectionsExhausted": (
        {
            'taskd_store_connections_busy{job="taskd",pool="all"}': "10x20",
            'taskd_store_connections_limit{job="taskd",pool="all"}': "10x20",
            'taskd_store_calls_waiting{job="taskd",pool="all"}': "5x20",
        },
        10,
    ),
    "TaskdDependencyDown": ({'taskd_outage_seconds{job="taskd",dependency="database"}': "0+60x20"}, 2),
    "TaskdKeysOld": (
        {
            'taskd_key_set_age_seconds{job="taskd"}': "1700+60x20",
            'taskd_outage{job="taskd",dependency="key set of https://auth.example.com"}': "1x20",
        },
        3,
    ),
    "TaskdProcessesRestarting": ({'process_start_time_seconds{job="taskd"}': "0+60x20"}, 10),
    "TaskdFilesExhausted": (
        {'process_open_fds{job="taskd"}': "95x20", 'process_max_fds{job="taskd"}': "100x20"},
        10,
    ),
}


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """And not at the beginning, when all is well: Prometheus's own tool plays it through."""
    promtool = required("promtool")
    assert [rule["alert"] for rule in rules()] == list(FIRING)
    summaries = {rule["alert"]: rule["labels"] for rule in rules()}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": stored} for name, stored in series.items()],
            "promql_expr_test": [
                {"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}"}})', **at}
                for at in (
                    {"eval_time": "0m", "exp_samples": []},
                    {"eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}]},
                )
            ],
        }
        for alert, (series, minute) in FIRING.items()
        for severity in (summaries[alert]["severity"],)
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))

    played = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert 0 == played.returncode, played.stdout + played.stderr
