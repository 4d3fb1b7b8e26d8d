"""The manifests in examples/deploy are valid, and fit taskd and each other."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.recipes import DEPLOY, assert_parses, stop_time_s

VERSION = "1.30"
DOCUMENTS: list[Any] = [
    each for file in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())
]
PODS = {each["kind"]: each["spec"]["template"] for each in DOCUMENTS if "template" in each.get("spec", {})}


def kind(name: str) -> Any:
    [found] = [each for each in DOCUMENTS if each["kind"] == name]
    return found


def container(pod: Any) -> Any:
    [only] = pod["spec"]["containers"]
    return only


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each["kind"])
def test_each_manifest_is_valid(document: Any) -> None:
    """It has the fields that Kubernetes defines, and no others."""
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_nothing_is_missing() -> None:
    """Otherwise, there would be nothing to check."""
    assert {"Deployment", "Job"} == set(PODS)
    assert {"ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Service"} == {each["kind"] for each in DOCUMENTS}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_the_pods_are_restricted(pod: Any) -> None:
    """They keep to the strictest of the Pod Security Standards, `restricted`, and their files are read-only."""
    context, own = pod["spec"]["securityContext"], container(pod)["securityContext"]

    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert {"type": "RuntimeDefault"} == context["seccompProfile"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert {"drop": ["ALL"]} == own["capabilities"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert {"secret", "emptyDir"} >= {kind for volume in pod["spec"]["volumes"] for kind in volume if kind != "name"}


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_taskd_has_the_commands(pod: Any) -> None:
    """What the containers run is a command of taskd, with its options, and the probes are its paths."""
    assert_parses(container(pod)["args"])

    probes = [probe["httpGet"] for name, probe in container(pod).items() if name.endswith("Probe")]
    assert {each["path"] for each in probes} <= {"/livez", "/readyz"}
    assert {each["port"] for each in probes} <= {port["name"] for port in container(pod).get("ports", ())}


def test_a_pod_is_not_killed_before_it_has_stopped() -> None:
    """The grace period is longer than taskd may take; it drains for longer than proxies take to notice."""
    pod = PODS["Deployment"]
    options = assert_parses(container(pod)["args"])

    assert stop_time_s(options) < pod["spec"]["terminationGracePeriodSeconds"]
    assert options["drain_s"] >= 2 * container(pod)["readinessProbe"]["periodSeconds"]
    assert [options["port"]] == [port["containerPort"] for port in container(pod)["ports"]]


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_secrets_are_where_the_settings_say(pod: Any) -> None:
    """Each setting that names a file names one in the volume of the secret."""
    [mount] = [each for each in container(pod)["volumeMounts"] if each["name"] == "secrets"]
    files = [PurePosixPath(value) for name, value in kind("ConfigMap")["data"].items() if name.endswith("_FILE")]

    assert [mount["mountPath"]] * 2 == [str(file.parent) for file in files]
    assert mount["readOnly"] is True


def test_the_service_finds_the_pods() -> None:
    """The labels of the Deployment's pods are those that everything else selects, and a migration has others."""
    labels = PODS["Deployment"]["metadata"]["labels"]

    assert labels == kind("Service")["spec"]["selector"]
    assert labels == kind("Deployment")["spec"]["selector"]["matchLabels"]
    assert labels == kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert labels != PODS["Job"]["metadata"]["labels"]
    assert kind("Service")["spec"]["ports"][0]["targetPort"] == container(PODS["Deployment"])["ports"][0]["name"]
