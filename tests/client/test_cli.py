"""The command line as a person types it."""

import json
import os
import subprocess
import uuid
from pathlib import Path

import numpy as np

from embedded.supervisor import Supervisor
from tests import factories
from tests.api import names, npz, vectors, weights
from tests.client.typed import LOOKAHEAD, lookahead


def test_a_project_from_a_shell(running: Supervisor, tmp_path: Path) -> None:
    url, project = running.url, f"p-{uuid.uuid4().hex[:8]}"
    (tmp_path / "pool.npz").write_bytes(npz(x=vectors(20), ids=np.array(names(20))))
    (tmp_path / "w.safetensors").write_bytes(weights(factories.mlp(6, [16, 8], 3)))
    (tmp_path / "labels.jsonl").write_text('{"item": "item-7", "label": "c"}\n')
    assert "3 classes" in lookahead(url, "project", "create", project, "--classes", "a,b,c")
    assert "Added 20 items" in lookahead(url, "pool", "add", project, str(tmp_path / "pool.npz"))
    weights_file = str(tmp_path / "w.safetensors")
    assert "is active" in lookahead(url, "checkpoint", "add", project, weights_file, "--option", "hidden=[16,8]")
    suggested = json.loads(lookahead(url, "suggest", project, "-n", "2", "--json"))["suggestions"]
    assert "is b (label 1" in lookahead(url, "label", project, suggested[0]["item"], "b")
    assert "skipped" in lookahead(url, "label", project, suggested[1]["item"], "--skip")
    assert "--own goes with" in lookahead(url, "label", project, "item-9", "--skip", "--own", status=2)
    assert "skipped" in lookahead(url, "label", project, "item-9", "--skip", "--own", "--annotator", "ann")
    assert "ann: skipped for themselves (label 3)" in lookahead(url, "labels", "show", project, "item-9")
    assert "overlap: 0 labeled" in lookahead(url, "project", "labeling", project, "overlap", "--overlap", "2")
    assert "latest: 1 labeled" in lookahead(url, "project", "labeling", project, "latest")
    assert "Took 1 labels" in lookahead(url, "labels", "import", project, str(tmp_path / "labels.jsonl"))
    assert suggested[0]["item"] not in lookahead(url, "suggest", project, "-n", "3")
    shown = lookahead(url, "project", "show", project)
    assert "20 items, 2 labeled, 1 skipped, 17 to go" in shown
    assert project in lookahead(url, "project", "list")
    assert "prepare" in lookahead(url, "jobs", "list", project)
    assert "has 5 classes" in lookahead(url, "project", "classes", "add", project, "d", "e")
    curve = json.loads(lookahead(url, "project", "curve", project, "--json"))
    assert (curve[0]["label_seq"], curve[0]["flipped"], curve[-1]["labels"]) == (0, None, 2)
    assert "leave-one-out" in lookahead(url, "project", "curve", project)
    lookahead(url, "suggest", project, "-n", "2", "--annotator", "ann")
    assert lookahead(url, "leases", "list", project).count(" ann ") == 2
    assert "holds on to 2 items" in lookahead(url, "leases", "renew", project, "ann", "--seconds", "60")
    assert "gave back 2 items" in lookahead(url, "leases", "release", project, "ann")
    job = json.loads(lookahead(url, "project", "show", project, "--json"))
    assert job["labels"] == 2


def test_options_before_the_command_and_json(running: Supervisor, tmp_path: Path) -> None:
    url, project = running.url, f"p-{uuid.uuid4().hex[:8]}"
    odd = ["[/b] :smile:", *names(19)]
    (tmp_path / "pool.npz").write_bytes(npz(x=vectors(20), ids=np.array(odd)))
    (tmp_path / "w.safetensors").write_bytes(weights(factories.mlp(6, [16, 8], 3)))
    manifest = {"architecture": "mlp", "options": {"hidden": [16, 8]}, "loss": "squared"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "other.json").write_text('{"options": {}}')
    assert "3 classes" in lookahead(
        "http://127.0.0.1:9", "--url", url, "project", "create", project, "--classes", "a,b,c"
    )
    lookahead(url, "pool", "add", project, str(tmp_path / "pool.npz"))
    add = ("checkpoint", "add", project, str(tmp_path / "w.safetensors"), "--manifest")
    assert "--manifest" in lookahead(url, *add, str(tmp_path / "manifest.json"), "--loss", "squared", status=2)
    assert "architecture" in lookahead(url, *add, str(tmp_path / "other.json"), status=2)
    assert json.loads(lookahead(url, "--json", *add, str(tmp_path / "manifest.json")))["status"] == "succeeded"
    assert project in [found["name"] for found in json.loads(lookahead(url, "project", "list", "--json"))]
    (job,) = json.loads(lookahead(url, "--json", "jobs", "list", project))
    assert json.loads(lookahead(url, "--json", "jobs", "list", project, "--kind", "train")) == []
    jobs = lookahead(url, "jobs", "list", project, "--kind", "prepare", columns=80)
    assert job["id"] in jobs
    assert "{done}/{total} {unit}".format(**job["progress"]) in jobs
    assert "prepare" in lookahead(url, "jobs", "show", job["id"])
    assert "prepare succeeded" in lookahead(url, "watch", job["id"])
    options = ("--option", "batch=top_k", "--option", "why=2")
    answer = json.loads(lookahead(url, "--json", "suggest", project, *options))
    assert (answer["options"]["batch"], len(answer["suggestions"][0]["why"])) == ("top_k", 2)
    assert odd[0] in lookahead(url, "suggest", project, "-n", "20", "--strategy", "random")
    assert f"{odd[0]} is a" in lookahead(url, "label", project, odd[0], "a")


def test_mistakes_get_one_sentence(running: Supervisor) -> None:
    url = running.url
    assert "unknown_project" in lookahead(url, "suggest", "nowhere", status=1)
    assert "is the service running?" in lookahead("http://127.0.0.1:9", "project", "list", status=3)
    assert "give one of" in lookahead(url, "label", "p", "item", status=2)
    assert "does not exist" in lookahead(url, "pool", "add", "p", "/no/such/file.npz", status=2)
    assert "unknown_job" in lookahead(url, "watch", "job-1", status=1)


def test_help_names_every_command() -> None:
    text = lookahead("", "--help")
    for command in (
        "up",
        "demo",
        "project",
        "pool",
        "checkpoint",
        "label",
        "suggest",
        "jobs",
        "watch",
        "worker",
        "migrate",
    ):
        assert command in text


def test_worker_and_migrate_say_what_they_need() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL"}}
    for command in ("migrate", "worker"):
        done = subprocess.run([LOOKAHEAD, command], env=environment, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "DATABASE_URL" in done.stderr
        assert "Traceback" not in done.stderr
