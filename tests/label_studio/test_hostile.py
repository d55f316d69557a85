"""What a Label Studio server, or whoever holds a backend's address, may send: nothing of it breaks a project."""

import contextlib
import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from store.database import Sessions
from studio import addresses
from studio import api as api_module
from studio.api import LabelStudio
from studio.config import control_of
from studio.errors import AddressRefusedError, ConfigError, UnreachableError
from studio.items import PictureError, pixels
from studio.payloads import moment
from tests.api import Api, assert_problem, npz, vectors
from tests.label_studio.fake import TOKEN, FakeLabelStudio, connect, recorded
from tests.label_studio.test_backend import annotation, backend, hook, log
from tests.label_studio.test_reconciliation import synced
from tests.pictures import encoded, noise
from tests.service.keyed import Keyed
from worker.context import Context
from worker.label_studio import additions

__all__ = ["backend"]


def configured(*choices: str) -> dict[str, Any]:
    """A webhook's message that the configuration has these choices besides."""
    body = recorded(38)
    more = "".join(f'<Choice value="{choice}"/>' for choice in choices)
    body["project"]["label_config"] = body["project"]["label_config"].replace(
        '<Choice value="neg"/>', f'<Choice value="neg"/>{more}'
    )
    return body


@pytest.mark.parametrize("choice", ["x" * 201, "tab&#9;within", "\ud800"], ids=["long", "control", "surrogate"])
def test_choices_that_are_no_names_of_classes_are_refused(api: Api, backend: str, choice: str) -> None:
    answer = api.client.post(f"{backend}/webhook", content=json.dumps(configured(choice)))
    assert answer.status_code == 201, answer.text
    assert api.get("/projects/p").json()["classes"] == ["pos", "neg"]
    assert api.get("/label-studio").json()["connections"][0]["problem"]
    hook(api, backend, configured("mixed"))
    assert api.get("/projects/p").json()["classes"] == ["pos", "neg", "mixed"]


@pytest.mark.parametrize("choice", ["\u826f\u3044\u3000\u72ac", "not\u00a0bad", "soft\u00adhyphen"])
def test_spaces_of_all_scripts_are_parts_of_names(api: Api, backend: str, choice: str) -> None:
    hook(api, backend, configured(choice))
    hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": annotation(52, 2, choice, 1, 1)})
    assert log(api) == [("task-2", "label", choice, "ann@example.org")]


@pytest.mark.parametrize("word", ["9999-12-31T23:59:59.999999-10:00", "0001-01-01T00:00:00+10:00"])
def test_a_time_past_what_can_be_read_again_does_not_block_its_task(api: Api, backend: str, word: str) -> None:
    odd = {**annotation(61, 1, "neg", 1, 1), "updated_at": word}
    hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": odd})
    for _ in range(2):
        hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": annotation(62, 1, "pos", 1, 1)})
    assert moment(word) is None
    assert log(api) == [("task-1", "label", "pos", "ann@example.org")]


def test_an_annotation_told_after_the_end_of_its_task_does_not_come_back(api: Api, backend: str) -> None:
    told = {"action": "ANNOTATION_CREATED", "annotation": annotation(41, 8, "pos", 1, 1)}
    late = {"action": "ANNOTATION_CREATED", "annotation": annotation(42, 8, "neg", 5, 2)}
    hook(api, backend, told)
    hook(api, backend, recorded(40))
    before = log(api)
    hook(api, backend, late)
    hook(api, backend, told)
    assert log(api) == before
    # The end of a task that was never heard of before.
    hook(api, backend, {"action": "TASKS_DELETED", "tasks": [{"id": 7}]})
    hook(api, backend, {"action": "ANNOTATION_CREATED", "annotation": annotation(43, 7, "pos", 1, 1)})
    assert log(api)[len(before) :] == [("task-7", "skip", None, "label-studio")]
    assert api.get("/label-studio").json()["connections"][0]["tasks"] == 0


def test_the_end_of_a_held_out_task_is_no_label(api: Api, studio: FakeLabelStudio) -> None:
    api.project(classes=("pos", "neg"))
    ids = np.array([f"task-{k}" for k in range(1, 4)])
    assert api.upload(npz(x=vectors(3), ids=ids)).status_code == 201
    held = np.array(["task-8"])
    assert api.upload(npz(x=vectors(1), ids=held), held_out="true").status_code == 201
    path = connect(api, studio)["backend"]
    hook(api, path, {"action": "ANNOTATION_CREATED", "annotation": annotation(41, 8, "pos", 1, 1)})
    hook(api, path, recorded(40))
    assert log(api) == []
    assert api.get("/projects/p/items/task-8").json()["state"] == "held_out"


def huge_png() -> bytes:
    """A head that promises more pixels than anybody would decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_of_any_size_is_left_out() -> None:
    with pytest.raises(PictureError):
        pixels(huge_png(), 32)


def test_one_picture_too_many_bytes_long_is_left_out(
    api: Api, worker: Context, studio: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(additions, "PICTURE_BYTES_MAX", 5000)
    studio.project["label_config"] = studio.project["label_config"].replace("Text", "Image").replace("$text", "$image")
    for number, content in enumerate((encoded(noise(8, 8)), bytes(6000), huge_png()), start=1):
        studio.add_tasks(1, image=f"/data/{number}.png")
        studio.pictures[f"/data/{number}.png"] = content
    made = connect(api, studio)
    result = synced(api, worker, made, order=False)
    assert (result["tasks"], result["added"]) == (3, 1)
    assert result["problem"].startswith("2 tasks have no image")


def test_a_text_that_no_file_can_hold_does_not_stop_the_reading(
    api: Api, worker: Context, studio: FakeLabelStudio
) -> None:
    studio.add_tasks(2)
    studio.tasks[1]["data"]["text"] = "half a sign: \ud83d"
    made = connect(api, studio)
    assert synced(api, worker, made, order=False)["added"] == 2
    shown = api.get("/projects/p/contents", items="task-1").json()["contents"][0]
    assert shown["text"] == "half a sign: ?"


def test_names_of_users_that_cannot_be_stored_are_let_be(api: Api, studio: FakeLabelStudio) -> None:
    studio.users = [{"id": 1, "email": "ann\x00@example.org"}, {"id": 2, "email": "x" * 5000}, {"id": 3, "email": ""}]
    path = connect(api, studio)["backend"]
    ids = np.array(["task-1"])
    assert api.upload(npz(x=vectors(1), ids=ids)).status_code == 201
    for number in (1, 2, 3):
        body = annotation(number, 1, "pos", number, number)
        hook(api, path, {"action": "ANNOTATION_CREATED", "annotation": body})
    assert [who for *_, who in log(api)] == [f"label-studio-user-{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999", "http://127.0.0.1:0", "http://[::1", "http://\x00"])
def test_odd_addresses_are_refused(api: Api, address: str) -> None:
    api.project(classes=("pos", "neg"))
    body = {"project": "p", "url": address, "token": TOKEN, "label_studio_project": 1}
    refused = api.post("/label-studio", body)
    assert refused.status_code == 422, refused.text
    assert TOKEN not in refused.text


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("::169.254.169.254", False),
        ("64:ff9b::7f00:1", True),
        ("2002:a00:1::", True),
    ],
)
def test_addresses_within_addresses_are_looked_at(address: str, private: bool) -> None:
    with pytest.raises(AddressRefusedError):
        addresses.checked(address, 80, private_allowed=False)
    if private:
        assert addresses.checked(address, 80, private_allowed=True)
    else:
        with pytest.raises(AddressRefusedError):
            addresses.checked(address, 80, private_allowed=True)


def test_a_configuration_with_half_a_sign_is_none() -> None:
    with pytest.raises(ConfigError):
        control_of("<View>\ud800</View>")


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_an_answer_that_trickles_holds_nobody(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "BRIEF_ANSWER_SECONDS", 0.5)
    done = threading.Event()

    def trickle(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, contextlib.suppress(OSError):
            connection.sendall(start)
            while not done.wait(0.05):
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,), daemon=True)
        thread.start()
        began = time.monotonic()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with LabelStudio(url, TOKEN, 1, patient=False) as server, pytest.raises(UnreachableError, match="in time"):
            server.project()
        assert time.monotonic() - began < 20
        done.set()
        thread.join(5)


def test_the_audit_is_not_filled_by_what_the_label_log_keeps(keyed: Keyed, studio: FakeLabelStudio) -> None:
    keyed.app.state.context.settings.lookahead_private_addresses = "on"
    admin = keyed.new("admin")
    path = connect(admin, studio)["backend"]
    before = len(admin.get("/audit").json()["entries"])
    for _ in range(3):
        assert keyed.client.post(f"{path}/webhook", json=recorded(20)).status_code == 201
        assert keyed.client.post(f"{path}/predict", json=recorded(17)).status_code == 200
        assert keyed.client.post(f"{path}/setup/", json=recorded(2)).status_code == 200
    assert len(admin.get("/audit").json()["entries"]) == before


def test_tenants_have_their_own_connections(keyed: Keyed, studio: FakeLabelStudio) -> None:
    keyed.app.state.context.settings.lookahead_private_addresses = "on"
    mine, theirs = (keyed.new("admin", projects=[name]) for name in ("p", "q"))
    made = connect(mine, studio)
    theirs.project("q", classes=("pos", "neg"))
    body = {"url": studio.url, "token": TOKEN, "label_studio_project": 1}
    assert theirs.get("/label-studio").json() == {"connections": []}
    assert_problem(theirs.post("/label-studio", {"project": "p", **body}), 404, "unknown_project")
    assert_problem(theirs.post(f"/label-studio/{made['id']}/sync", {}), 404, "unknown_connection")
    assert_problem(theirs.client.delete(f"/label-studio/{made['id']}"), 404, "unknown_connection")
    job = mine.post(f"/label-studio/{made['id']}/sync", {}).json()
    assert_problem(theirs.get(f"/jobs/{job['id']}"), 404, "unknown_job")
    assert TOKEN not in mine.get(f"/jobs/{job['id']}").text
    for path in ("contents?items=x", "image?item=x", "diagnostics"):
        assert_problem(theirs.get(f"/projects/p/{path}"), 404, "unknown_project")
    assert keyed.new("read").get("/label-studio").status_code == 403


def test_two_who_end_a_connection_at_once(api: Api, studio: FakeLabelStudio, sessions: Sessions) -> None:
    made = connect(api, studio)
    with ThreadPoolExecutor(4) as pool, sessions.begin() as session:
        session.execute(sa.text("SELECT id FROM label_studio_connections FOR UPDATE"))
        ending = [pool.submit(api.client.delete, f"/label-studio/{made['id']}") for _ in range(4)]
        time.sleep(0.5)
        session.commit()
    assert sorted(each.result().status_code for each in ending) == [200, 404, 404, 404]


def test_a_page_without_annotations_takes_no_label_back(api: Api, worker: Context, studio: FakeLabelStudio) -> None:
    studio.add_tasks(2)
    studio.annotate(1, "pos")
    made = connect(api, studio)
    synced(api, worker, made, order=False)
    answer = studio._on_tasks

    def without(rest: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        status, found = answer(rest, query)
        return status, {**found, "tasks": [{k: v for k, v in t.items() if k != "annotations"} for t in found["tasks"]]}

    studio._on_tasks = without  # type: ignore[method-assign]
    assert synced(api, worker, made, order=False)["events"] == 0
    assert log(api) == [("task-1", "label", "pos", "ann@example.org")]
