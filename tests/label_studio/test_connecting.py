"""One command connects: against a stand-in server, with a service and a worker in this process."""

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import uvicorn
from fastapi import FastAPI

from api_schemas import jobs as wire
from client.label_studio_connect import PRIVATE_HINT, Connected, ConnectError, Wanted, connect, loaded
from client.sdk import Client
from embedded.process import wait_until
from tests.label_studio.fake import TEXT_CONFIG, TOKEN, FakeLabelStudio
from worker.context import Context


@pytest.fixture
def client(app: FastAPI, working: Context) -> Iterator[Client]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert wait_until(lambda: server.started, 20)
    with Client(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}") as made:
        yield made
    server.should_exit = True
    thread.join(10)


def follow(client: Client, job: wire.Job) -> wire.Job:
    return client.wait_for(job, timeout=60)


def connected(client: Client, studio: FakeLabelStudio, **more: object) -> Connected:
    wanted = {"project": "films", "url": studio.url, "token": TOKEN, "label_studio_project": 1} | more
    return connect(client, Wanted(**wanted), follow, lambda line: None)  # type: ignore[arg-type]


def lengths(texts: list[str]) -> npt.NDArray[np.float32]:
    return np.array([[len(text), text.count("o"), 1.0] for text in texts], dtype=np.float32)


def test_twice_is_harmless_and_what_was_lost_is_mended(client: Client, studio: FakeLabelStudio, quick: None) -> None:
    studio.add_tasks(12)
    studio.annotate(1, "pos")
    done = connected(client, studio, train=False)
    assert (done.connection.items, done.connection.annotations) == (12, 1)
    assert "There is no order yet" in done.steps[-1]
    follow(client, client.train("films", epochs=0))
    again = connected(client, studio)
    assert studio.project["sampling"] == "Uncertainty sampling"
    assert len(studio.served()) == 11
    (backend,), (webhook,) = studio.backends, studio.webhooks
    assert backend["url"].startswith(f"{client.url}/label-studio/lst_{done.connection.id}_")
    assert webhook["url"] == f"{backend['url']}/webhook"
    assert again.connection.id == done.connection.id
    assert "is there already" in " ".join(again.steps)
    assert (studio.backends, studio.webhooks) == ([backend], [webhook])
    # Somebody has removed the webhook: its address is a secret by now, so there is a new one.
    studio.webhooks.clear()
    mended = connected(client, studio)
    assert mended.connection.id != done.connection.id
    assert [each.id for each in client.label_studio_connections()] == [mended.connection.id]
    assert (len(studio.backends), len(studio.webhooks)) == (1, 1)
    assert [(each.item, each.label) for each in client.label_log("films")] == [("task-1", "pos")]
    ended = client.disconnect_label_studio(mended.connection.id)
    assert ended.left is None
    assert (studio.backends, studio.webhooks, studio.predictions) == ([], [], [])
    assert studio.project["sampling"] == "Sequential sampling"


def test_own_vectors(client: Client, studio: FakeLabelStudio, quick: None) -> None:
    studio.add_tasks(5)
    done = connected(client, studio, embed=lengths, train=False)
    assert client.project("films").input_shape == [3]
    assert (done.connection.items, done.connection.add_tasks) == (5, False)
    studio.add_tasks(2)
    assert connected(client, studio, embed=lengths, train=False).connection.items == 7


def test_refusals_say_what_to_do(client: Client, studio: FakeLabelStudio) -> None:
    with pytest.raises(ConnectError, match="no items"):
        connected(client, studio)
    studio.add_tasks(3)
    client.disconnect_label_studio(client.label_studio_connections()[0].id)
    studio.refuse_backends = "URL resolves to a reserved network address"
    with pytest.raises(ConnectError) as refusal:
        connected(client, studio)
    assert PRIVATE_HINT in str(refusal.value)
    assert "lst_" not in str(refusal.value)
    assert client.label_studio_connections() == []
    studio.project["label_config"] = TEXT_CONFIG.replace("Choices", "Labels")
    with pytest.raises(ConnectError, match="only Choices are served"):
        connected(client, studio)
    with pytest.raises(ConnectError, match="does not answer"):
        connected(client, studio, url="http://127.0.0.1:1")


def test_somebody_elses_project_is_not_taken_over(client: Client, studio: FakeLabelStudio) -> None:
    studio.add_tasks(3)
    done = connected(client, studio, train=False)
    with pytest.raises(
        ConnectError, match=f"labels films already: `lookahead label-studio disconnect {done.connection.id}`"
    ):
        connected(client, studio, project="plays")
    assert [project.name for project in client.projects()] == ["films"]


def test_functions_by_name() -> None:
    assert loaded("tests.label_studio.test_connecting:lengths") is lengths
    for wrong in ("nonsense", "no_such_module:x", "tests.label_studio.test_connecting:nothing", "json:__name__"):
        with pytest.raises(ConnectError):
            loaded(wrong)
