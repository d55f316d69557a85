"""A test's hand on the HTTP interface, and uploads to send through it."""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
import numpy.typing as npt
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save
from torch import nn

from tests import factories

Json = dict[str, Any]
PROBLEM = "application/problem+json"


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: npt.NDArray[Any], *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def vectors(items: int, features: int = 6, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(items, features)).astype(np.float32)


def names(items: int, prefix: str = "item-") -> list[str]:
    return [f"{prefix}{k}" for k in range(items)]


def weights(module: nn.Module, dtype: torch.dtype = torch.float32) -> bytes:
    return save({key: tensor.to(dtype).contiguous() for key, tensor in module.state_dict().items()})


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def torch_save(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


class Api:
    """Thin: builds the request, hands back the answer."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(self, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        return self.client.post(path, json=body, **more)

    def get(self, path: str, **query: Any) -> httpx2.Response:
        return self.client.get(path, params=query)

    def project(self, name: str = "p", classes: Sequence[str] = ("a", "b", "c"), **more: Any) -> Json:
        answer = self.post("/projects", {"name": name, "classes": list(classes), **more})
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        return found

    def upload(self, data: bytes, name: str = "p", file: str = "pool.npz", **fields: str) -> httpx2.Response:
        return self.client.post(f"/projects/{name}/pool", files={"file": (file, data)}, data=fields)

    def pool(self, items: int = 30, name: str = "p", features: int = 6, seed: int = 0, **more: str) -> Json:
        prefix = more.pop("prefix", "item-")
        x = vectors(items, features, seed)
        answer = self.upload(npz(x=x, ids=np.array(names(items, prefix))), name, **more)
        assert answer.status_code == 201, answer.text
        found: Json = answer.json()
        return found

    def checkpoint(
        self,
        module: nn.Module | bytes,
        name: str = "p",
        architecture: str = "mlp",
        options: Json | None = None,
        **manifest: Any,
    ) -> httpx2.Response:
        data = module if isinstance(module, bytes) else weights(module)
        content = {"architecture": architecture, "options": options or {}, **manifest}
        return self.client.post(
            f"/projects/{name}/checkpoints",
            files={"weights": ("w.safetensors", data)},
            data={"manifest": json.dumps(content)},
        )

    def mlp(self, name: str = "p", features: int = 6, classes: int = 3, seed: int = 0, **more: Any) -> Json:
        module = factories.mlp(features, [16, 8], classes, seed)
        answer = self.checkpoint(module, name, options={"hidden": [16, 8]}, **more)
        assert answer.status_code == 202, answer.text
        found: Json = answer.json()
        return found

    def label(self, item: str, label: str | None = "a", name: str = "p", **more: Any) -> httpx2.Response:
        body = {"project": name, "item": item, **more}
        return self.post("/label", body if "skip" in more else {**body, "label": label})

    def suggest(self, name: str = "p", headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        return self.client.post("/suggest", json={"project": name, **more}, headers=headers)


def assert_problem(answer: httpx2.Response, status: int, code: str, *words: str) -> Json:
    """The answer is this problem, in full, and its detail speaks of `words`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: Json = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= set(problem)
    for word in words:
        assert word in problem["detail"], problem["detail"]
    return problem
