"""docker/grafana, docker/prometheus and docker/kubernetes: they parse, and name nothing that does not exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI

from telemetry.gauges import watch_process
from telemetry.snapshots import Publisher
from tests.api import Api
from tests.test_metrics_page import listed
from tests.worker.conftest import run_queued
from worker.context import Context
from worker.metrics import Device

ROOT = Path(__file__).parent.parent
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana/dashboards/lookahead.json").read_text())
OBSERVE: dict[str, Any] = yaml.safe_load((ROOT / "docker/observe.yml").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "docker/prometheus/alerts.yml").read_text())
MANIFESTS = {
    f"{path.stem} {number}": document
    for path in sorted((ROOT / "docker/kubernetes").glob("*.yaml"))
    for number, document in enumerate(yaml.safe_load_all(path.read_text()))
}
PROMTOOL = shutil.which("promtool")
# Every sample has the scrape's own; `le` is a histogram's.
EVERYWHERE = {"job", "instance", "process", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """All of them, by where they stand; Grafana's own variables made plain."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    for name, manifest in MANIFESTS.items():
        if manifest["kind"] == "ScaledObject":
            for number, trigger in enumerate(manifest["spec"]["triggers"]):
                found[f"{name} trigger {number}"] = trigger["metadata"]["query"]
        elif manifest["kind"] == "ConfigMap":
            for rule in yaml.safe_load(manifest["data"]["config.yaml"])["externalRules"]:
                found[f"{name} {rule['seriesQuery']}"] = rule["metricsQuery"].replace("{<<.LabelMatchers>>}", "")
                found[f"{name} series"] = rule["seriesQuery"]
        else:
            for metric in manifest["spec"]["metrics"]:
                found[name] = metric["external"]["metric"]["name"]
    return {place: text.replace("$__rate_interval", "5m") for place, text in found.items()}


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """(metric, labels that it is selected by) of an expression."""
    for name, selector in re.findall(r"\b((?:lookahead|process)_\w+)(\{[^}]*\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', selector)))


def family(name: str) -> str | None:
    """The documented metric behind a sample's name."""
    known = listed()
    for suffix, kinds in (
        ("", {"gauge"}),
        ("_total", {"counter"}),
        ("_bucket", {"histogram"}),
        ("_sum", {"histogram"}),
        ("_count", {"histogram"}),
        ("_info", {"info"}),
    ):
        base = name.removesuffix(suffix) if suffix else name
        if (not suffix or name.endswith(suffix)) and base in known and known[base][0] in kinds:
            return base
    return None


def test_every_metric_is_documented_with_the_labels_that_it_is_asked_for() -> None:
    known = listed()
    for place, expression in expressions().items():
        metrics = list(used(expression))
        assert metrics or "up{" in expression, place
        for name, labels in metrics:
            base = family(name)
            assert base is not None, (place, name)
            assert labels <= known[base][1] | EVERYWHERE, (place, name, labels)
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
        every = set().union(*(known[family(name) or ""][1] for name, _ in metrics)) if metrics else set()
        assert grouped <= every | EVERYWHERE, (place, grouped)
    # And nothing that is worth measuring is missing on the dashboard.
    shown = {family(name) for panel in panels() for target in panel["targets"] for name, _ in used(target["expr"])}
    assert known.keys() - shown <= {"process_virtual_memory_bytes", "process_start_time_seconds", "process_max_fds"}


def test_every_metric_is_in_a_scrape(api: Api, app: FastAPI, worker: Context) -> None:
    api.project()
    api.pool()
    api.mlp()
    run_queued(worker)
    api.label("item-1")
    api.suggest(headers={"Prefer": "wait=0"})
    run_queued(worker)
    worker.metrics.registry.register(Device(worker.name, "interactive", worker.device))
    watch_process(worker.metrics.registry, connections=lambda: {"in_use": 0, "idle": 1}, disk_free=lambda: 1.0)
    Publisher(worker.redis, "worker", worker.metrics.registry).publish()
    text = api.get("/metrics").text
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    for place, expression in expressions().items():
        for name, _ in used(expression):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            scraped = name in types or types.get(base) == "histogram"
            # Only where there is a GPU.
            assert scraped or name == "lookahead_gpu_memory_bytes", (place, name)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)")
def test_prometheus_accepts_everything(tmp_path: Path) -> None:
    recorded = [
        {"record": f"lookahead:expression_{number}", "expr": text} for number, text in enumerate(expressions().values())
    ]
    assert len(recorded) > 50
    every = tmp_path / "every.yml"
    every.write_text(yaml.safe_dump({"groups": [{"name": "every", "rules": recorded}]}))
    folder = ROOT / "docker/prometheus"
    for command in (
        ["check", "rules", every],
        ["check", "rules", folder / "alerts.yml"],
        ["check", "config", "--syntax-only", folder / "prometheus.yml"],
        ["test", "rules", ROOT / "tests/alerts.yml"],
    ):
        done = subprocess.run([PROMTOOL, *command], capture_output=True, text=True)  # type: ignore[list-item]
        assert done.returncode == 0, done.stdout + done.stderr


def test_expressions_are_well_formed() -> None:
    """What can be said without Prometheus: brackets and quotes close, every rate looks at a counter over a time."""
    for place, text in expressions().items():
        plain = re.sub(r'"[^"]*"', "", text)
        assert '"' not in plain, place
        depth: list[str] = []
        for sign in plain:
            if sign in "([{":
                depth.append({"(": ")", "[": "]", "{": "}"}[sign])
            elif sign in ")]}":
                assert depth, place
                assert depth.pop() == sign, place
        assert not depth, place
        for name, window in re.findall(r"\b(?:rate|increase)\((\w+)(?:\{[^}]*\})?(\[[^\]]+\])?\)", text):
            assert re.fullmatch(r"\[\d+[smh]\]", window), (place, name)
            assert re.search(r"_(total|bucket|sum|count)$", name), (place, name)


def test_every_alert_says_what_to_do() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors, anchor
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")


def test_the_dashboard_can_be_shown() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    sources = {json.dumps(target["datasource"]) for panel in panels() for target in panel["targets"]}
    assert sources == {'{"type": "prometheus", "uid": "${source}"}'}
    provisioned = ROOT / "docker/grafana/provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources/prometheus.yml").read_text())["datasources"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["current"]["value"] == source["uid"]
    (provider,) = yaml.safe_load((provisioned / "dashboards/lookahead.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in OBSERVE["services"]["grafana"]["volumes"])
    assert mounts["./docker/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./docker/grafana/provisioning"] == "/etc/grafana/provisioning"


def test_what_observes_stays_on_loopback_and_is_pinned() -> None:
    for name, service in OBSERVE["services"].items():
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["restart"] == "unless-stopped"
        assert "healthcheck" in service
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert volume.endswith(":ro")
                assert (ROOT / volume.split(":")[0]).is_dir()
    scraped = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    (target,) = job["static_configs"][0]["targets"]
    assert target.partition(":")[0] in base["services"]
    secret = Path(job["authorization"]["credentials_file"]).name
    assert secret in OBSERVE["secrets"]
    assert (ROOT / "docker/prometheus" / scraped["rule_files"][0]).is_file()


def test_scalers_name_one_deployment_each_and_never_lose_the_last_answer() -> None:
    kinds = [manifest["kind"] for manifest in MANIFESTS.values()]
    assert kinds.count("ScaledObject") == 2
    assert kinds.count("HorizontalPodAutoscaler") == 1
    for name, manifest in MANIFESTS.items():
        if manifest["kind"] == "ConfigMap":
            continue
        target = manifest["spec"]["scaleTargetRef"]["name"]
        assert target == manifest["metadata"]["name"], name
        least = manifest["spec"].get("minReplicaCount", manifest["spec"].get("minReplicas"))
        assert least == (0 if target == "lookahead-worker-bulk" else 1), name
