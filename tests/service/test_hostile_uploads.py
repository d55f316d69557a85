"""Hostile uploads: each refused with a problem, soon, in little memory, leaving nothing and running nothing."""

import io
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from store.database import Sessions
from tests.api import Api, assert_problem
from tests.service.conftest import contents
from tests.service.hostile import CANARY, Hostile, Lot, archives, arrays, labels, tensors
from tests.service.hostile.arrays import GOOD, PLAIN
from tests.service.hostile.weights import checkpoints

POOLS, CHECKPOINTS, LABELS = Lot(), Lot(), labels.files()
for fill in (archives.pickles, archives.archives, arrays.cut_short, arrays.headers, arrays.dtypes, arrays.polyglots,
             arrays.numbers, arrays.ids, tensors.safetensors):  # fmt: skip
    fill(POOLS)
checkpoints(CHECKPOINTS)
SECONDS = 4.0  # of the processor, so that a busy machine changes nothing; each takes a fraction of one
MEMORY = 200 << 20


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(shared: Api, shared_app: FastAPI) -> Iterator[None]:
    """Around the whole lot: rows, artifacts, open temporary files, memory, and the canary."""
    sessions: Sessions = shared_app.state.context.sessions
    folder = shared_app.state.context.artifacts.folder
    assert shared.upload(b"warm up").status_code == 422
    rows, stored, deleted = contents(sessions), listing(folder), open_and_deleted()
    peak = peak_memory()
    yield
    assert contents(sessions) == rows
    assert listing(folder) == stored
    assert open_and_deleted() <= deleted
    assert peak_memory() - peak < MEMORY
    assert not CANARY.exists()


def listing(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def open_and_deleted() -> int:
    """Temporary files without a name that are still held."""
    held = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            held += str(link.readlink()).endswith(" (deleted)")
        except OSError:
            continue
    return held


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refused(answer: httpx2.Response, hostile: Hostile, began: float) -> None:
    took = time.process_time() - began
    problem = assert_problem(answer, hostile.status, hostile.code)
    assert len(problem["detail"]) < 4100
    assert took < SECONDS
    assert not CANARY.exists()


@pytest.mark.parametrize("name", POOLS)
def test_pool(name: str, shared: Api) -> None:
    data = POOLS[name].make()
    began = time.process_time()
    refused(shared.upload(data), POOLS[name], began)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint(name: str, shared: Api) -> None:
    data = CHECKPOINTS[name].make()
    began = time.process_time()
    refused(shared.checkpoint(data, options={"hidden": [16, 8]}), CHECKPOINTS[name], began)


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str, shared: Api) -> None:
    kind, hostile = LABELS[name]
    data = hostile.make()
    began = time.process_time()
    refused(shared.client.post("/labels?project=p", content=data, headers={"content-type": kind}), hostile, began)


# Multipart itself


def part(name: str, data: bytes = PLAIN, headers: str = "", boundary: str = "b") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{headers}\r\n\r\n'
    return head.encode("latin-1") + data + b"\r\n"


FORMS: dict[str, tuple[bytes, int, str]] = {
    "no boundary at all": (b"x" * 100, 400, "malformed_request"),
    "cut in the head": (b"--b\r\nContent-Disp", 422, "invalid_request"),
    "field that is no file": (part("file") + b"--b--\r\n", 422, "invalid_request"),
    "field of 4 MB": (part("held_out", b"x" * (4 << 20)) + b"--b--\r\n", 400, "malformed_request"),
    "2000 fields": (b"".join(part(f"f{k}", b"") for k in range(2000)) + b"--b--\r\n", 400, "malformed_request"),
    "2000 files": (
        b"".join(part(f"f{k}", b"", '; filename="x"') for k in range(2000)) + b"--b--\r\n",
        400, "malformed_request",
    ),
    "part without a name": (
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", 400, "malformed_request",
    ),
    "part of unknown charset": (
        part("upload", b"x") + part("_charset_", b"no-such-charset") + b"--b--\r\n", 404, "unknown_upload",
    ),
    "header without end": (b"--b\r\nX: " + b"y" * 100_000, 400, "malformed_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_form(name: str, shared: Api) -> None:
    body, status, code = FORMS[name]
    headers = {"content-type": "multipart/form-data; boundary=b"}
    began = time.process_time()
    answer = shared.client.post("/projects/p/pool", content=body, headers=headers)
    refused(answer, Hostile(lambda: b"", status, code), began)


NAMES = ["../../../etc/passwd", "/etc/passwd", "C:\\x.npz", "CON", "x\0.npz", "a" * 5000, "", ".",
         "x\r\nSet-Cookie: a=b", "\u202e",
         "'; DROP TABLE items; --", "x.npz.exe", "|touch x", "$(touch x)"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_file_names_mean_nothing(name: str, shared: Api, tmp_path: Path) -> None:
    """They decide neither what a file is nor where anything goes."""
    answer = shared.client.post("/projects/p/pool", files={"file": (name, io.BytesIO(GOOD[:50]))})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_there_are_many() -> None:
    lots: list[dict[str, Any]] = [POOLS, CHECKPOINTS, dict(LABELS), dict(FORMS)]
    assert sum(len(lot) for lot in lots) > 250
