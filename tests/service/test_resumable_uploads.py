"""Resumable uploads: what arrives is kept, what is promised is held to, and nobody gets at another's."""

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect

from service.operations import uploads as operations
from service.problems import LockedError, StalledError, TooLargeError
from service.settings import ServiceSettings
from store.database import Sessions
from tests.api import Api, assert_problem, names, npz, vectors, weights
from tests.factories import mlp
from tests.service.keyed import keyed_service

VERSION = {"Tus-Resumable": "1.0.0"}
KIND = "application/offset+octet-stream"
_counter = itertools.count()


def begin(api: Api, length: int, **headers: str) -> str:
    answer = api.client.post("/uploads", headers={**VERSION, "Upload-Length": str(length), **headers})
    assert answer.status_code == 201, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return str(answer.headers["location"])


def patch(api: Api, place: str, offset: int | str, data: bytes, **headers: str) -> httpx2.Response:
    sent = {**VERSION, "Upload-Offset": str(offset), "Content-Type": KIND, **headers}
    return api.client.patch(place, content=data, headers=sent)


def offset(api: Api, place: str) -> int:
    answer = api.client.head(place, headers=VERSION)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


@pytest.fixture
def api(shared: Api, shared_app: FastAPI) -> Iterator[Api]:
    yield shared
    folder = shared_app.state.context.uploads._folder
    for path in folder.glob("[0-9a-f]*.*"):
        path.unlink()


def fresh(items: int = 4) -> bytes:
    return npz(x=vectors(items), ids=np.array(names(items, f"u{next(_counter)}-")))


def test_a_pool_in_parts(api: Api, shared_app: FastAPI) -> None:
    data = fresh()
    place = begin(api, len(data), **{"Upload-Metadata": "filename cG9vbC5ucHo=,empty"})
    assert offset(api, place) == 0
    for start in range(0, len(data), 100):
        answer = patch(api, place, start, data[start : start + 100])
        assert answer.status_code == 204
        assert int(answer.headers["upload-offset"]) == min(start + 100, len(data)) == offset(api, place)
    found = api.client.head(place, headers=VERSION)
    assert found.headers["upload-length"] == str(len(data))
    assert found.headers["upload-metadata"] == "filename cG9vbC5ucHo=,empty"
    assert "GMT" in found.headers["upload-expires"]
    upload = place.rpartition("/")[2]
    answer = api.client.post("/projects/p/pool", files={"upload": (None, upload)})
    assert answer.status_code == 201, answer.text
    assert answer.json()["added"] == 4
    assert api.client.head(place, headers=VERSION).status_code == 404
    assert not list(shared_app.state.context.uploads._folder.glob("[0-9a-f]*.*"))
    again = api.client.post("/projects/p/pool", data={"upload": upload})
    assert_problem(again, 404, "unknown_upload", upload)


def test_a_checkpoint_in_parts(api: Api) -> None:
    data = weights(mlp(6, [16, 8], 3))
    place = begin(api, len(data))
    assert patch(api, place, 0, data).status_code == 204
    form = {"upload": place.rpartition("/")[2], "manifest": '{"architecture": "mlp", "options": {"hidden": [16, 8]}}'}
    assert api.client.post("/projects/p/checkpoints", data=form).status_code == 202
    assert api.client.head(place, headers=VERSION).status_code == 404


def test_one_that_is_not_complete_is_not_taken(api: Api) -> None:
    data = fresh()
    place = begin(api, len(data))
    patch(api, place, 0, data[:70])
    answer = api.client.post("/projects/p/pool", data={"upload": place.rpartition("/")[2]})
    assert_problem(answer, 409, "upload_incomplete", f"70 of {len(data)} bytes")
    assert offset(api, place) == 70


def test_a_repeated_request_is_answered_though_the_upload_is_used_up(api: Api) -> None:
    data = fresh()
    place = begin(api, len(data))
    patch(api, place, 0, data)
    form, key = {"upload": place.rpartition("/")[2]}, {"Idempotency-Key": place}
    first = api.client.post("/projects/p/pool", data=form, headers=key)
    again = api.client.post("/projects/p/pool", data=form, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = api.client.post("/projects/p/pool", data={"upload": "a" * 32}, headers=key)
    assert_problem(other, 409, "idempotency_conflict")


def test_one_that_is_refused_is_kept(api: Api) -> None:
    data = b"no array at all" * 10
    place = begin(api, len(data))
    patch(api, place, 0, data)
    answer = api.client.post("/projects/p/pool", data={"upload": place.rpartition("/")[2]})
    assert_problem(answer, 422, "unknown_format")
    assert offset(api, place) == len(data)


def test_either_a_file_or_an_upload(api: Api) -> None:
    both = api.client.post("/projects/p/pool", files={"file": ("x", b"x")}, data={"upload": "a" * 32})
    assert_problem(both, 422, "invalid_request", "upload")
    assert_problem(api.client.post("/projects/p/pool", data={"held_out": "true"}), 422, "invalid_request", "file")
    form = {"manifest": '{"architecture": "mlp"}'}
    assert_problem(api.client.post("/projects/p/checkpoints", data=form), 422, "invalid_request", "weights")


def test_deleting(api: Api) -> None:
    place = begin(api, 10)
    answer = api.client.delete(place, headers=VERSION)
    assert answer.status_code == 204
    assert_problem(api.client.delete(place, headers=VERSION), 404, "unknown_upload")
    assert_problem(patch(api, place, 0, b"x"), 404, "unknown_upload")


def test_what_is_spoken_here(api: Api) -> None:
    for path in ("/uploads", "/uploads/x"):
        answer = api.client.options(path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-extension"] == "creation,expiration,termination"
        assert answer.headers["tus-max-size"] == str(64 << 20)


# Abuse


CREATIONS: dict[str, tuple[dict[str, str], int, str]] = {
    "no version": ({"Tus-Resumable": ""}, 412, "unsupported_version"),
    "old version": ({"Tus-Resumable": "0.2.2"}, 412, "unsupported_version"),
    "negative length": ({"Upload-Length": "-1"}, 422, "invalid_request"),
    "length with a sign": ({"Upload-Length": "+10"}, 422, "invalid_request"),
    "length as a float": ({"Upload-Length": "1e3"}, 422, "invalid_request"),
    "length with underscores": ({"Upload-Length": "1_000"}, 422, "invalid_request"),
    "length beyond 64 bits": ({"Upload-Length": "9" * 40}, 422, "invalid_request"),
    "length that is none": ({"Upload-Length": "NaN"}, 422, "invalid_request"),
    "arabic digits": ({"Upload-Length": "\u0663".encode().decode("latin-1")}, 422, "invalid_request"),
    "too long": ({"Upload-Length": str((64 << 20) + 1)}, 413, "body_too_large"),
    "empty": ({"Upload-Length": "0"}, 422, "empty_upload"),
    "metadata not base64": ({"Upload-Metadata": "filename ***"}, 422, "invalid_metadata"),
    "metadata of odd length": ({"Upload-Metadata": "filename abc"}, 422, "invalid_metadata"),
    "metadata twice": ({"Upload-Metadata": "a YQ==,a YQ=="}, 422, "invalid_metadata"),
    "metadata without a key": ({"Upload-Metadata": "a YQ==, ,b"}, 422, "invalid_metadata"),
    "metadata key not ASCII": ({"Upload-Metadata": "\xe9 YQ=="}, 422, "invalid_metadata"),
    "metadata without end": ({"Upload-Metadata": "a " + "YQ==" * 2000}, 422, "invalid_request"),
}


@pytest.mark.parametrize("name", CREATIONS)
def test_creation_that_is_refused(name: str, api: Api, shared_app: FastAPI) -> None:
    headers, status, code = CREATIONS[name]
    given = {**VERSION, "Upload-Length": "10", **headers}
    sent = {key.encode(): value.encode("latin-1") for key, value in given.items()}
    answer = api.client.post("/uploads", headers=sent)
    assert_problem(answer, status, code)
    assert not list(shared_app.state.context.uploads._folder.glob("[0-9a-f]*.*"))


def test_creation_without_a_length(api: Api) -> None:
    answer = api.client.post("/uploads", headers={**VERSION, "Upload-Defer-Length": "1"})
    assert_problem(answer, 422, "invalid_request", "upload-length")


IDS = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a" * 32, "A" * 32, "a" * 31, "a" * 5000,
       ".lock", "x.json", "x%00", "%ff", "con", "*", "??", "a" * 30 + "%0a", "~root", "\u0661" * 32]  # fmt: skip


@pytest.mark.parametrize("upload_id", IDS)
def test_ids_that_lead_elsewhere(upload_id: str, api: Api) -> None:
    for answer in (
        api.client.head(f"/uploads/{upload_id}", headers=VERSION),
        api.client.delete(f"/uploads/{upload_id}", headers=VERSION),
        patch(api, f"/uploads/{upload_id}", 0, b"x"),
        api.client.post("/projects/p/pool", data={"upload": upload_id}),
    ):
        assert answer.status_code in {404, 405, 422}, answer.text


PATCHES: dict[str, tuple[dict[str, Any], int, str]] = {
    "offset behind": ({"offset": 3}, 409, "wrong_offset"),
    "offset ahead": ({"offset": 7}, 409, "wrong_offset"),
    "offset huge": ({"offset": "9" * 15}, 409, "wrong_offset"),
    "offset negative": ({"offset": -5}, 422, "invalid_request"),
    "offset that is none": ({"offset": "five"}, 422, "invalid_request"),
    "offset with a blank": ({"offset": "5 5"}, 422, "invalid_request"),
    "too many bytes": ({"offset": 5, "data": b"x" * 6}, 413, "upload_too_long"),
    "very many bytes": ({"offset": 5, "data": b"x" * (3 << 20)}, 413, "upload_too_long"),
    "other kind": ({"offset": 5, "Content-Type": "application/octet-stream"}, 415, "unsupported_media_type"),
    "form": ({"offset": 5, "Content-Type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
    "other version": ({"offset": 5, "Tus-Resumable": "2.0.0"}, 412, "unsupported_version"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_patches_that_are_refused_change_nothing(name: str, api: Api) -> None:
    given, status, code = PATCHES[name]
    place = begin(api, 10)
    assert patch(api, place, 0, b"12345").status_code == 204
    more = dict(given)
    assert_problem(patch(api, place, more.pop("offset"), more.pop("data", b"abc"), **more), status, code)
    assert offset(api, place) == 5


def test_a_long_body_of_unknown_length_leaves_nothing(api: Api) -> None:
    place = begin(api, 3 << 20)

    def body() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    sent = {**VERSION, "Upload-Offset": "0", "Content-Type": KIND}
    assert_problem(api.client.patch(place, content=body(), headers=sent), 413, "upload_too_long", "nothing")
    assert offset(api, place) == 0


# What TCP does to us, and processes that end


async def _arriving(*parts: bytes, then: BaseException | None = None, wait: float = 0.0) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    await anyio.sleep(wait)
    if then is not None:
        raise then


def write(app: FastAPI, place: str, at: int, body: AsyncIterator[bytes]) -> None:
    anyio.run(operations.write, app.state.context, "", place.rpartition("/")[2], at, None, body)


def test_bytes_before_a_lost_connection_are_kept(api: Api, shared_app: FastAPI) -> None:
    place = begin(api, 10)
    write(shared_app, place, 0, _arriving(b"123", b"45", then=ClientDisconnect()))
    assert offset(api, place) == 5
    write(shared_app, place, 5, _arriving(b"67890"))
    with shared_app.state.context.uploads.opened(place.rpartition("/")[2], "") as (upload, file):
        assert upload.complete
        assert file.read() == b"1234567890"


def test_a_body_that_stops_coming(api: Api, shared_app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "STALLED_SECONDS", 0.05)
    place = begin(api, 10)
    with pytest.raises(StalledError, match="5 of 10 bytes"):
        write(shared_app, place, 0, _arriving(b"12345", wait=1.0))
    assert offset(api, place) == 5


def test_two_writers_at_once(api: Api, shared_app: FastAPI) -> None:
    """The second is told to wait; the file holds the first one's bytes."""
    place = begin(api, 10)
    refused: list[Exception] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"12345"
        with pytest.raises(LockedError) as caught:
            await operations.write(
                shared_app.state.context, "", place.rpartition("/")[2], 0, None, _arriving(b"xxxxxxxxxx")
            )
        refused.append(caught.value)
        yield b"67890"

    write(shared_app, place, 0, body())
    assert len(refused) == 1
    assert offset(api, place) == 10


def test_a_long_body_is_taken_back_whole(api: Api, shared_app: FastAPI) -> None:
    """Also what had been put on disk for good on the way."""
    place = begin(api, 34 << 20)
    with pytest.raises(TooLargeError):
        write(shared_app, place, 0, _arriving(*[b"x" * (5 << 20)] * 7))
    assert offset(api, place) == 0


def test_full_is_a_problem(api: Api) -> None:
    for _ in range(20):
        begin(api, 10)
    answer = api.client.post("/uploads", headers={**VERSION, "Upload-Length": "10"})
    assert_problem(answer, 409, "too_many_uploads", "20")


def test_uploads_belong_to_a_key(settings: ServiceSettings, sessions: Sessions) -> None:
    with keyed_service(settings, sessions) as keyed:
        mine, theirs, reader = keyed.new("admin"), keyed.new("admin"), keyed.new("read", "label", "suggest")
        mine.project()
        data = fresh()
        place = begin(mine, len(data))
        assert patch(mine, place, 0, data).status_code == 204
        form = {"upload": place.rpartition("/")[2]}
        assert_problem(theirs.client.delete(place, headers=VERSION), 404, "unknown_upload")
        assert_problem(patch(theirs, place, len(data), b""), 404, "unknown_upload")
        assert_problem(theirs.client.post("/projects/p/pool", data=form), 404, "unknown_upload")
        assert theirs.client.head(place, headers=VERSION).status_code == 404
        assert_problem(reader.client.post("/uploads", headers={**VERSION, "Upload-Length": "9"}), 403, "scope_missing")
        assert keyed.client.head(place, headers=VERSION).status_code == 401
        assert mine.client.post("/projects/p/pool", data=form).status_code == 201
