"""Against an unmodified Label Studio server: `make label-studio-test` installs one and runs these."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from client.sdk import Client
from embedded.supervisor import Supervisor
from tests.label_studio.fake import TEXT_CONFIG
from tests.label_studio.server import Person, label_studio

PROGRAM = os.environ.get("LABEL_STUDIO_PROGRAM", "")
IMAGE_CONFIG = (
    '<View><Image name="img" value="$image"/><Choices name="cls" toName="img"><Choice value="dark"/>'
    '<Choice value="light"/></Choices></View>'
)
GOOD = ("a fine film that I loved", "wonderful acting, loved every minute", "the best story, fine and warm")
BAD = ("a dull film that I hated", "terrible acting, hated every minute", "the worst story, dull and cold")

pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="run by `make label-studio-test`"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    with tempfile.TemporaryDirectory(prefix="ls-") as folder, label_studio(PROGRAM, Path(folder)) as made:
        # Making its database takes a server longest: others begin with this one.
        shutil.copytree(folder, tmp_path_factory.getbasetemp() / "fresh")
        yield made


@pytest.fixture(scope="module")
def service() -> Iterator[Supervisor]:
    with tempfile.TemporaryDirectory(prefix="lh-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as made:
            yield made


@pytest.fixture
def client(service: Supervisor) -> Iterator[Client]:
    with Client(service.url) as made:
        yield made


def eventually(look: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while True:
        if look():
            return
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def command(service: Supervisor, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "embedded.cli", "--url", service.url, "label-studio", *arguments],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done


def connected(service: Supervisor, person: Person, number: int, project: str) -> str:
    """Connect by the command line; the connection's id."""
    given = ["--url", person.url, "--token", person.token, "--label-studio-project", str(number), "--project", project]
    done = command(service, "connect", *given, "--json")
    assert person.token not in done.stdout + done.stderr
    return str(json.loads(done.stdout)["id"])


def said(client: Client, project: str) -> list[tuple[str, str, str | None, str | None]]:
    return [(each.item, each.kind, each.label, each.annotator) for each in client.label_log(project)]


def version(person: Person, number: int) -> str:
    return str(person.show(number)["model_version"])


def test_texts_from_first_connection_to_the_last_repair(person: Person, service: Supervisor, client: Client) -> None:
    number = person.project(TEXT_CONFIG)
    texts = [f"{text}, seen {k} times" for k in range(5) for text in (*GOOD, *BAD)]
    person.ask("POST", f"/api/projects/{number}/import", [{"text": text} for text in texts])
    tasks = {task["id"]: task["data"]["text"] for task in person.tasks(number)}
    truth = {task: "pos" if text.startswith(GOOD) else "neg" for task, text in tasks.items()}
    for task in list(tasks)[:5]:
        person.annotate(task, truth[task])

    # One command connects; twice is harmless.
    connection = connected(service, person, number, "films")
    assert connected(service, person, number, "films") == connection
    assert len(person.ask("GET", f"/api/ml/?project={number}")) == 1
    assert len(person.ask("GET", f"/api/webhooks/?project={number}")) == 1
    assert person.show(number)["sampling"] == "Uncertainty sampling"
    assert len(said(client, "films")) == 5
    assert {annotator for _, _, _, annotator in said(client, "films")} == {"ann@example.org"}

    # The order is ours: `next` is the first of our suggestions.
    def first() -> int:
        best = client.suggest("films", 1, options={"batch": "top_k"}).suggestions[0]
        return int(best.item.removeprefix("task-"))

    assert version(person, number).startswith("lookahead-")
    assert person.next(number) == first()

    # Predictions are shown as pre-annotations, and asked for where there is none.
    shown = person.ask("GET", f"/api/tasks/{first()}/")["predictions"]
    ours = [each for each in shown if each["model_version"] == version(person, number)]
    assert ours[0]["result"][0]["value"]["choices"][0] in {"pos", "neg"}
    backend = person.ask("GET", f"/api/ml/?project={number}")[0]
    assert (backend["readable_state"], backend["model_version"]) == ("Connected", version(person, number))
    labeled = next(iter(tasks))
    chosen = {"selectedItems": {"all": False, "included": [labeled]}, "project": number}
    person.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={number}", chosen)
    fetched = [p for p in person.ask("GET", f"/api/tasks/{labeled}/")["predictions"] if p["result"]]
    assert fetched[0]["result"][0]["value"]["choices"] == [truth[labeled]]

    def heard(event: tuple[str, str, str, str]) -> None:
        eventually(lambda: event in said(client, "films"), 10)

    def changed(before: str) -> bool:
        return version(person, number) not in {before, "", "None"}

    # A label comes by the webhook, and the order follows.
    orders = [person.next(number)]
    for _ in range(3):
        before, task = version(person, number), person.next(number)
        annotation = person.annotate(task, truth[task])
        event = (f"task-{task}", "label", truth[task], "ann@example.org")
        heard(event)
        eventually(partial(changed, before))
        eventually(lambda: client.label_studio_connections()[0].order_seq == len(said(client, "films")))
        assert person.next(number) == first() != task
        orders.append(person.next(number))
    assert len(set(orders)) == 4

    # Changed, deleted, skipped.
    person.change(annotation, "neg" if truth[task] == "pos" else "pos")
    eventually(lambda: said(client, "films")[-1][2] not in {truth[task], None}, 10)
    person.ask("DELETE", f"/api/annotations/{annotation}/")
    eventually(lambda: said(client, "films")[-1][:2] == (f"task-{task}", "withdraw"), 10)
    unwanted = person.next(number)
    person.annotate(unwanted, None)
    eventually(lambda: said(client, "films")[-1][:2] == (f"task-{unwanted}", "skip"), 10)

    # A new task is in the pool without anybody's doing.
    person.ask("POST", f"/api/projects/{number}/import", [{"text": "a late but fine film"}])
    late = person.tasks(number)[-1]["id"]
    eventually(lambda: any(item.item == f"task-{late}" for item in client.items("films")))

    # A lost webhook is mended.
    hook = person.ask("GET", f"/api/webhooks/?project={number}")[0]["id"]
    person.ask("PATCH", f"/api/webhooks/{hook}/", {"is_active": False})
    lost = person.annotate(late, "pos")
    gone = person.annotate(unwanted, "pos")
    time.sleep(2)
    assert (f"task-{late}", "label", "pos", "ann@example.org") not in said(client, "films")
    command(service, "sync", connection)
    assert {f"task-{late}", f"task-{unwanted}"} <= {
        item for item, kind, _, _ in said(client, "films") if kind == "label"
    }
    for each in (lost, gone):
        person.ask("DELETE", f"/api/annotations/{each}/")
    command(service, "sync", connection, "--no-everything")
    assert sorted(item for item, kind, _, _ in said(client, "films")[-2:] if kind in {"withdraw", "skip"}) == sorted(
        [f"task-{late}", f"task-{unwanted}"]
    )

    command(service, "disconnect", connection)
    assert person.ask("GET", f"/api/ml/?project={number}") == []
    assert person.ask("GET", f"/api/webhooks/?project={number}") == []
    assert person.show(number)["sampling"] == "Sequential sampling"
    assert not any(
        name.startswith("lookahead-") for name in person.ask("GET", f"/api/projects/{number}/model-versions/")
    )
    logs = "".join(path.read_text() for path in (service.home / "logs").glob("*.log"))
    assert person.token not in logs
    assert not [word for word in logs.split() if f"lst_{connection}_" in word and f"lst_{connection}_***" not in word]


def picture(shade: int, place: int) -> bytes:
    made = Image.new("RGB", (40, 30), (shade, shade, shade))
    ImageDraw.Draw(made).rectangle((place, place, place + 6, place + 6), (255, 0, 0))
    file = io.BytesIO()
    made.save(file, "PNG")
    return file.getvalue()


def test_pictures_without_any_label(person: Person, service: Supervisor, client: Client) -> None:
    number = person.project(IMAGE_CONFIG)
    for k in range(10):
        file = {f"p{k}.png": (f"p{k}.png", picture(30 if k % 2 else 220, k), "image/png")}
        person.ask("POST", f"/api/projects/{number}/import", files=file)
    assert len(person.tasks(number)) == 10
    connected(service, person, number, "shades")
    found = client.project("shades")
    assert (found.items, found.labels, found.input_shape) == (10, 0, [3, 32, 32])
    task = person.next(number)
    # Nothing is labeled yet: the order begins with the most typical of all pictures.
    (shown,) = person.ask("GET", f"/api/tasks/{task}/")["predictions"]
    assert (shown["score"], shown["model_version"]) == (0.0, version(person, number))
    person.annotate(task, "light", "img")
    eventually(lambda: said(client, "shades") == [(f"task-{task}", "label", "light", "ann@example.org")], 10)
    eventually(lambda: person.next(number) != task)


def test_a_server_that_refuses_private_addresses_is_told_apart(
    person: Person, service: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fresh, guarded = tmp_path_factory.getbasetemp() / "fresh", ("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED")
    with label_studio(PROGRAM, fresh, person.token, **dict.fromkeys(guarded, "true")) as strict:
        number = strict.project(TEXT_CONFIG)
        strict.ask("POST", f"/api/projects/{number}/import", [{"text": "a"}, {"text": "b"}])
        given = ["--url", strict.url, "--token", strict.token, "--label-studio-project", str(number)]
        refused = command(service, "connect", *given, "--project", "strict", fails=True)
    assert "ML_BLOCK_LOCAL_IP=false" in refused.stderr
    assert "SSRF_PROTECTION_ENABLED=false" in refused.stderr
    assert "lst_" not in refused.stderr
