"""Looking inside a running service: from the SDK and from a shell."""

import json
import threading
from pathlib import Path

import pytest

from api_schemas.events import ProjectEvent
from api_schemas.jobs import Job
from api_schemas.workers import Workers
from client.errors import ApiError
from client.sdk import Client
from embedded.process import wait_until
from embedded.supervisor import Supervisor
from tests.api import names, vectors
from tests.client.test_sdk import prepared
from tests.client.typed import lookahead


def test_workers_diagnostics_and_held_out_items(client: Client, running: Supervisor, tmp_path: Path) -> None:
    project = prepared(client)
    client.upload_pool(project, vectors(20, seed=3), names(20, "test-"), held_out=True)
    accepted = client.held_out_labels(project, {f"test-{k}": "abc"[k % 3] for k in range(10)})
    assert (accepted.accepted, accepted.labeled) == (10, 10)
    (tmp_path / "more.csv").write_text("".join(["item,label\n", *(f"test-{k},a\n" for k in range(10, 20))]))
    assert "20 held-out items" in lookahead(
        running.url, "project", "held-out-labels", project, str(tmp_path / "more.csv")
    )
    client.label(project, "item-1", "a")
    client.suggest(project, strategy="entropy")
    # Figures are made between requests, by a thread of the worker.
    assert wait_until(lambda: client.project(project).held_out_accuracy is not None, 15)
    point = list(client.curve(project))[-1]
    predictions = client.predictions(project, names(20, "test-")).predictions
    truth = ["abc"[k % 3] for k in range(10)] + ["a"] * 10
    share = sum(p.predicted == label for p, label in zip(predictions, truth, strict=True)) / 20
    assert point.held_out_accuracy == client.project(project).held_out_accuracy == pytest.approx(share)
    assert wait_until(lambda: client.diagnostics(project).scores is not None, 15)
    found = client.diagnostics(project)
    assert found.spectrum is not None
    assert (found.spectrum.items, sum(entry.labels for entry in found.classes)) == (30, 1)

    def warm() -> bool:
        kept = [w for worker in client.workers().workers for w in worker.warm if w.project == project]
        return [w.labeled for w in kept] == [1]

    assert wait_until(warm, 15)
    processes = [worker.process or "" for worker in client.workers().workers]
    assert {process.rsplit("-", 1)[0] for process in processes} == {"worker-bulk", "worker-interactive"}
    shown = lookahead(running.url, "workers")
    assert "worker-interactive-1" in shown
    assert f"{project} (1 labels" in shown
    assert "label to suggestion" in shown
    assert "interactive" in lookahead(running.url, "queues")
    assert {queue["name"] for queue in json.loads(lookahead(running.url, "queues", "--json"))["queues"]} == {
        "bulk",
        "interactive",
    }
    shown = lookahead(running.url, "project", "diagnostics", project)
    assert f"accuracy on 20 held-out items: {share:.1%}" in shown
    assert "scores of entropy at label 1" in shown
    classes = json.loads(lookahead(running.url, "project", "diagnostics", project, "--json"))["classes"]
    assert [entry["class"] for entry in classes] == ["a", "b", "c"]
    assert f"{share:.1%}" in lookahead(running.url, "project", "curve", project)


def test_events_as_they_happen(client: Client, running: Supervisor) -> None:
    project = prepared(client)
    seen: list[object] = []

    def listen() -> None:
        with Client(running.url) as other:
            for event in other.events(project):
                seen.append(event)
                if isinstance(event, ProjectEvent) and event.label_seq == 1:
                    return

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    assert wait_until(lambda: any(isinstance(event, Workers) for event in seen), 30)
    client.suggest(project)
    client.label(project, "item-1", "a")
    listening.join(10)
    assert not listening.is_alive()
    assert any(isinstance(event, Job) and event.status == "succeeded" for event in seen)
    with pytest.raises(ApiError) as refused:
        next(client.events("nowhere"))
    assert refused.value.code == "unknown_project"
