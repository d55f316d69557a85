"""The command line as a shell sees it: quick, completing, and exact about mistakes."""

import csv
import json
import os
import resource
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from client.cli_lazy import COMMANDS
from client.sdk import Client
from embedded.cli import app
from embedded.supervisor import Supervisor
from tests.api import names, vectors
from tests.client.typed import LOOKAHEAD


def lookahead(url: str, *words: str, status: int = 0) -> str:
    """As typed, but within this process: what a shell sees beside that is tested in test_cli."""
    done = CliRunner(env={"LOOKAHEAD_URL": url, "COLUMNS": "200"}).invoke(app, words)
    assert done.exit_code == status, done.output
    return done.stdout if status == 0 else done.stderr


def completed(url: str, words: str) -> list[str]:
    environment = {
        **os.environ,
        "LOOKAHEAD_URL": url,
        "_LOOKAHEAD_COMPLETE": "complete_bash",
        "COMP_WORDS": f"lookahead {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    done = subprocess.run([LOOKAHEAD], env=environment, capture_output=True, text=True, timeout=30)
    return done.stdout.split()


def project(client: Client, start: str = "p") -> str:
    name = f"{start}-{uuid.uuid4().hex[:8]}"
    client.create_project(name, ["a", "b"])
    return name


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom embedded.cli import app\n"
        "try: app(['--help'], prog_name='lookahead')\nexcept SystemExit: pass\n"
        "heavy = {'httpx', 'pydantic', 'numpy', 'pyarrow', 'torch', 'redis', 'psycopg', 'sqlalchemy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.rstrip().endswith("HEAVY []"), done.stdout + done.stderr
    # Of the processor, not of the clock: other tests run at the same time.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_summaries_are_what_the_commands_say() -> None:
    for name, entry in COMMANDS.items():
        said = " ".join((entry.loaded(name).help or "").split("\n\n")[0].split())
        assert said == entry.summary, name


def test_a_shell_completes_commands_options_and_projects(running: Supervisor, client: Client) -> None:
    name = project(client, "zebra")
    assert completed(running.url, "sugg") == ["suggest"]
    assert completed(running.url, "pool add p x --id") == ["--id-column"]
    assert name in completed(running.url, "suggest zeb")
    assert name in completed(running.url, "watch zeb")
    assert completed("http://127.0.0.1:9", "suggest zeb") == []
    for shell in ("bash", "zsh", "fish"):
        assert "_LOOKAHEAD_COMPLETE" in lookahead("", "completion", shell)


def test_mistakes_say_what_would_be_right(running: Supervisor, client: Client) -> None:
    url, name = running.url, project(client, "giraffe")
    assert f"Did you mean {name}" in lookahead(url, "suggest", name[:-1], status=1)
    assert "Did you mean 'project'?" in lookahead(url, "projct", "list", status=2)
    assert "--labels" in lookahead(url, "pool", "add", name, ".", "--lables", status=2)
    assert "`lookahead up` starts one" in lookahead("http://127.0.0.1:9", "project", "list", status=3)
    assert "`lookahead jobs list`" in lookahead(url, "jobs", "show", "job-1", status=1)
    said = lookahead(url, "label", name, "nothing", "a", status=1)
    assert "unknown_item" in said
    assert "lookahead items list" in said


def test_items_from_a_table_and_a_folder(running: Supervisor, tmp_path: Path) -> None:
    url, name = running.url, f"p-{uuid.uuid4().hex[:8]}"
    (tmp_path / "t.csv").write_text("name,a,b,kind\nx,1,2,cat\ny,3,4,dog\nz,5,6,\n")
    add = ("pool", "add", name, str(tmp_path / "t.csv"), "--id-column", "name", "--label-column", "kind")
    assert "Added 3 items; the pool has 3. Recorded 2 labels." in lookahead(url, *add, "--create", "--labels")
    assert "--go-on" in lookahead(url, *add, status=1)
    again = json.loads(lookahead(url, *add, "--go-on", "--json"))
    assert (again["added"], again["passed_over"], again["classes"]) == (0, 3, ["cat", "dog"])
    (tmp_path / "empty").mkdir()
    assert "has no pictures" in lookahead(url, "pool", "add", name, str(tmp_path / "empty"), status=1)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef embed(rows): return np.array([[row.sum(), 1] for row in rows])\n"
    )
    (tmp_path / "u.csv").write_text("name,a,b,c\nu,1,2,3\n")
    environment = {**os.environ, "LOOKAHEAD_URL": url}
    words = ["pool", "add", name, "u.csv", "--id-column", "name", "--embed", "mine:embed"]
    done = subprocess.run([LOOKAHEAD, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "the pool has 4" in done.stdout, done.stderr
    assert "Vectors are made of 3 columns" in done.stderr


def test_items_and_their_attributes(running: Supervisor, client: Client, tmp_path: Path) -> None:
    url, name = running.url, project(client)
    client.upload_pool(name, vectors(3), names(3))
    assert "Set attributes of 1 items" in lookahead(url, "items", "set", name, "item-1", "site=north", "age=4")
    (tmp_path / "more.json").write_text('{"item-2": {"site": "south"}, "item-0": {"site": "north"}}')
    assert "of 2 items" in lookahead(url, "items", "set", name, "--file", str(tmp_path / "more.json"))
    listed = json.loads(lookahead(url, "items", "list", name, "--where", '{"site": "north"}', "--json"))
    assert [item["item"] for item in listed] == ["item-0", "item-1"]
    assert "--file" in lookahead(url, "items", "set", name, "item-1", status=2)
    suggested = json.loads(
        lookahead(url, "suggest", name, "-n", "3", "--strategy", "random", "--where", '{"site": "south"}', "--json")
    )
    assert [found["item"] for found in suggested["suggestions"]] == ["item-2"]
    client.label(name, "item-1", "a", annotator="ann")
    assert "ann" in lookahead(url, "labels", "log", name)


def test_watching_a_project(running: Supervisor, client: Client) -> None:
    url, name = running.url, project(client)
    client.upload_pool(name, vectors(3), names(3))
    lines = [json.loads(line) for line in lookahead(url, "watch", name, "--for", "0", "--json").splitlines()]
    assert [line["project"]["items"] for line in lines] == [3]
    assert f"{name}: 0 labeled" in lookahead(url, "watch", name, "--for", "0.1")
    assert "unknown_project" in lookahead(url, "watch", "no.such", status=1)


def test_the_service_and_its_keys(running: Supervisor, tmp_path: Path) -> None:
    url = running.url
    assert "The service is ready." in lookahead(url, "status")
    assert "lookahead_" in lookahead(url, "metrics")
    (tmp_path / "file").write_bytes(b"12345")
    upload = lookahead(url, "uploads", "send", str(tmp_path / "file")).strip()
    assert lookahead(url, "uploads", "show", upload).strip() == "5"
    assert "given up" in lookahead(url, "uploads", "discard", upload)
    assert "tus-version: 1.0.0" in lookahead(url, "uploads", "limits")
    made = json.loads(lookahead(url, "key", "create", "--name", "tool", "--scope", "read", "--json"))
    assert made["prefix"] in lookahead(url, "key", "list")
    assert "is revoked" in lookahead(url, "key", "revoke", made["prefix"])
    assert "POST /keys" in lookahead(url, "audit")
    assert "margin" in lookahead(url, "strategies")


@pytest.mark.parametrize("size", [(40, 30)])
def test_a_folder_of_pictures(running: Supervisor, tmp_path: Path, size: tuple[int, int]) -> None:
    name = f"p-{uuid.uuid4().hex[:8]}"
    for kind in ("cats", "dogs"):
        for number in range(3):
            (tmp_path / "pets" / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (number * 40, 0, 0)).save(tmp_path / "pets" / kind / f"{number}.png")
    add = ("pool", "add", name, str(tmp_path / "pets"), "--create", "--labels", "--image-size", "16")
    said = lookahead(running.url, *add)
    assert "Added 6 items; the pool has 6. Recorded 6 labels." in said
    shown = json.loads(lookahead(running.url, "project", "show", name, "--json"))
    assert (shown["input_shape"], shown["classes"]) == ([3, 16, 16], ["cats", "dogs"])


def test_labels_go_out_as_they_come_in(running: Supervisor, client: Client, tmp_path: Path) -> None:
    url, name, other = running.url, project(client), project(client)
    ids = ["a,b", 'with "marks"', "ü"]
    for each in (name, other):
        client.upload_pool(each, vectors(3), ids)
    client.labels(name, list(zip(ids[:2], "ab", strict=True)))
    client.label(name, ids[0], "b")
    for end in ("csv", "jsonl"):
        path = tmp_path / f"labels.{end}"
        assert "Wrote 2 labels" in lookahead(url, "labels", "export", name, str(path))
        assert "Took 2 labels" in lookahead(url, "labels", "import", other, str(path))
        assert [client.item(other, item).label for item in ids] == ["b", "b", None]
    assert (tmp_path / "labels.csv").read_text().startswith("item,label\n")
    assert ".jsonl" in lookahead(url, "labels", "export", name, str(tmp_path / "labels.txt"), status=2)
    assert "seq" in lookahead(url, "labels", "log", name).splitlines()[0]


def test_predictions_of_a_whole_pool_and_what_flatters(
    running: Supervisor, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.cli_predictions._PAGE_ITEMS", 3)
    url, name = running.url, project(client)
    shown = lookahead(url, "project", "show", name)
    assert f"`lookahead pool add {name} PATH`" in shown
    assert "lookahead pool add" in lookahead(url, "suggest", name, status=1)
    client.upload_pool(name, vectors(8), names(8))
    refused = lookahead(url, "predictions", name, "--all", status=1)
    assert f"`lookahead train {name}`" in refused
    client.label(name, "item-0", "a")
    assert "There is 1 label for 2 classes." in lookahead(url, "project", "show", name)
    client.label(name, "item-1", "b")
    client.wait_for(client.train(name, epochs=2))
    rows = list(csv.reader(lookahead(url, "predictions", name, "--all", "--csv").splitlines()))
    assert rows[0] == ["item", "predicted", "confidence", "a", "b"]
    assert [row[0] for row in rows[1:]] == names(8)
    for row in rows[1:]:
        assert row[1] == ("a" if float(row[3]) >= float(row[4]) else "b")
        assert 0.5 <= float(row[2]) <= 1
    found = json.loads(lookahead(url, "predictions", name, "--state", "unlabeled", "--json"))
    assert [each["item"] for each in found["predictions"]] == names(8)[2:]
    assert "confidence" in lookahead(url, "predictions", name, "item-3").splitlines()[0]
    assert "--all" in lookahead(url, "predictions", name, status=2)

    said = "flattered: the network was trained on these labels"
    assert f"({said})" in lookahead(url, "project", "show", name)
    assert f"({said})" in lookahead(url, "watch", name, "--for", "0")
    assert "%*" in next(line for line in lookahead(url, "project", "list").splitlines() if name in line)
    client.label(name, "item-2", "b")
    client.suggest(name)
    assert "trained on 2 of these labels" in lookahead(url, "project", "show", name)
    assert "trained on" not in lookahead(url, "project", "show", project(client))


def test_small_words(running: Supervisor, client: Client) -> None:
    url, name = running.url, project(client)
    client.upload_pool(name, vectors(5), names(5))
    client.set_attributes(name, {"item-1": {"site": "north", "age": 4}, "item-2": {"site": "north"}})
    said = CliRunner(env={"LOOKAHEAD_URL": url}).invoke(app, ["items", "list", name, "--limit", "2"])
    assert "there are more: --limit 20" in said.stderr
    said = CliRunner(env={"LOOKAHEAD_URL": url}).invoke(app, ["items", "list", name, "--limit", "5"])
    assert said.stderr == ""
    both = lookahead(url, "items", "list", name, "--where", "site=north", "--where", "age=4")
    assert [word for word in both.split() if word.startswith("item-")] == ["item-1"]
    refused = lookahead(url, "suggest", name, "--strategy", "marginn", status=1)
    assert "id you mean" in refused
    assert "'margin'" in refused
    assert refused.count("bald") <= 1
    assert "lookahead project list" in lookahead(url, "project", "show", "nowhere-at-all", status=1)
    assert "--show-completion" not in lookahead(url, "jobs", "-h")
    assert "leave out --create" in lookahead(url, "project", "create", name, "--classes", "a,b", status=1)
