"""Checkpoints of every architecture and in every container: taken, or refused with what would be right."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service.uploads import torch_archives, zips
from tests import factories
from tests.api import Api, archive, assert_problem, npy, torch_save, weights
from worker.networks import build

MODULE = factories.mlp(6, [16, 8], 3)
HIDDEN = {"hidden": [16, 8]}
SMALL = {"in_channels": 3, "depth": 10, "widen": 1, "classes": 3}


@pytest.fixture
def images(api: Api) -> Api:
    """A project whose items are small colour images."""
    api.project(name="images")
    x = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    assert api.upload(npy(x), "images", "pool.npy").status_code == 201
    return api


def tensors(name: str, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    return build(name, {"classes": 3, "in_channels": 3, **options}).state_dict()


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save({key: tensor.contiguous() for key, tensor in state.items()})


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("resnet18", {"stem": "cifar"}),
    ("vgg11", {"stem": "cifar", "batch_norm": True}),
    ("wideresnet", {"depth": 10, "widen": 1}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("counters", [True, False])
def test_networks_for_images(name: str, options: dict[str, Any], counters: bool, images: Api) -> None:
    state = {key: tensor for key, tensor in tensors(name, options).items() if counters or tensor.dim()}
    answer = images.checkpoint(safetensors(state), "images", name, options)
    assert answer.status_code == 202, answer.text
    assert answer.json()["kind"] == "prepare"


def test_heads_on_feature_vectors(api: Api) -> None:
    api.project()
    api.pool()
    linear, head = nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    assert api.checkpoint(linear, architecture="embedding:linear").status_code == 202
    assert api.checkpoint(head, architecture="embedding:mlp", options={"hidden": [5]}).status_code == 202


@pytest.mark.parametrize("name", ["timm:resnet50.a1_in1k", "torchvision:resnet50"])
def test_only_workers_know_the_layouts_of_packages(name: str, images: Api) -> None:
    good = {"anything": torch.zeros(2), "table": torch.arange(3)}
    answer = images.checkpoint(safetensors(good), "images", name)
    assert answer.status_code == 202, answer.text
    bad = safetensors({"anything": torch.tensor([1.0, torch.inf])})
    assert_problem(images.checkpoint(bad, "images", name), 422, "not_finite", "anything")
    bad = safetensors({"anything": torch.zeros(2, dtype=torch.bool)})
    assert_problem(images.checkpoint(bad, "images", name), 422, "unsupported_dtype", "BOOL")


@pytest.mark.parametrize(
    ("name", "options", "change", "code", "words"),
    [
        ("wideresnet", {"depth": 10, "widen": 1}, {"bn1.running_var": None}, "wrong_layout", "'bn1.running_var'"),
        ("wideresnet", {"depth": 10, "widen": 1}, {"fc.bias": torch.zeros(3).long()}, "unsupported_dtype", "I64"),
        ("wideresnet", {"depth": 10, "widen": 1}, {"bn1.num_batches_tracked": torch.zeros(1)}, "wrong_layout", "[1]"),
        ("wideresnet", {"depth": 10, "widen": 1}, {"bn1.bias": torch.full((64,), torch.nan)}, "not_finite", "bn1.bias"),
        ("wideresnet", {"depth": 10, "widen": 2}, {}, "wrong_layout", "block1.layer.0.conv1.weight"),
        ("wideresnet", {"depth": 11}, {}, "invalid_manifest", "6 n + 4"),
        ("wideresnet", {"in_channels": 1}, {}, "wrong_shape", "[1, height, width]"),
        ("resnet18", {"stem": "large"}, {}, "invalid_manifest", "cifar"),
        ("embedding:linear", {}, {}, "invalid_manifest", "[3, 32, 32]"),
        ("timm:../x", {}, {}, "invalid_manifest", "letters"),
        ("torchvision:x", {"pretrained": True}, {}, "invalid_manifest", "takes: classes, in_channels"),
    ],
)  # fmt: skip
def test_refused_networks(
    name: str, options: dict[str, Any], change: dict[str, Any], code: str, words: str, images: Api
) -> None:
    state = {**build("wideresnet", SMALL).state_dict(), **change}
    data = safetensors({key: tensor for key, tensor in state.items() if tensor is not None})
    assert_problem(images.checkpoint(data, "images", name, options), 422, code, words)


# Containers


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights"])
def test_a_state_dict_of_torch_save_is_told_by_its_content(name: str, api: Api) -> None:
    api.project()
    api.pool()
    answer = api.client.post(
        "/projects/p/checkpoints",
        files={"weights": (name, torch_save(MODULE.state_dict()))},
        data={"manifest": '{"architecture": "mlp", "options": {"hidden": [16, 8]}}'},
    )
    assert answer.status_code == 202, answer.text


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(MODULE.eval(), torch.zeros(2, 6).double()), buffer)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(MODULE.eval(), (torch.zeros(2, 6).double(),)), buffer)
    return buffer.getvalue()


def overlapping() -> bytes:
    """Two directory entries that share the bytes of one member."""
    data = bytearray(archive({"a/data.pkl": b"x" * 1000, "a/version": b"3" * 1000}))
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    for at in entries:
        data[at + 20 : at + 28] = (2000).to_bytes(4, "little") * 2
    return bytes(data)


def doubled() -> bytes:
    return archive({"a/data.pkl": b"1", "a/data.pkk": b"2"}).replace(b"data.pkk", b"data.pkl")


def encrypted() -> bytes:
    data = bytearray(archive({"a/data.pkl": b"1"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


CONTAINERS: dict[str, tuple[Callable[[], bytes], int, str, str]] = {
    "exported program": (exported, 422, "exported_program_refused", "exported program (.pt2)"),
    "old exported program": (
        lambda: archive({"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": b""}),
        422, "exported_program_refused", "safetensors.torch.save_file",
    ),
    "model in an archive": (lambda: archive({"m/models/model.json": b"{}"}), 422, "exported_program_refused", "cnn"),
    "script": (script, 422, "exported_program_refused", "TorchScript"),
    "script of constants": (
        lambda: archive({"m/data.pkl": b"", "m/constants.pkl": b""}),
        422, "exported_program_refused", "resnet18, vgg11",
    ),
    "no state dict": (lambda: archive({"a/b": b"1"}), 422, "unknown_format", "torch.save(model.state_dict(), path)"),
    "compressed": (
        lambda: archive({"a/data.pkl": b"1" * 1000}, zipfile.ZIP_DEFLATED), 422, "unsupported_archive", "a/data.pkl",
    ),
    "encrypted": (encrypted, 422, "unsupported_archive", "encrypted"),
    "other folder": (lambda: archive({"a/data.pkl": b"", "a/../../b": b""}), 422, "unexpected_member", "a/../../b"),
    "root folder": (lambda: archive({"a/data.pkl": b"", "/b": b""}), 422, "unexpected_member", "'/b'"),
    "backslash": (lambda: archive({"a/data.pkl": b"", "a\\b": b""}), 422, "unexpected_member", "lead nowhere"),
    "twice": (doubled, 422, "unexpected_member", "distinct"),
    "overlapping": (overlapping, 413, "expands_too_much", "4000 bytes"),
    "cut": (lambda: torch_save(MODULE.state_dict())[:-30], 422, "truncated_upload", "cut short"),
    "legacy": (lambda: legacy(MODULE.state_dict()), 422, "pickle_refused", "safetensors"),
}  # fmt: skip


def legacy(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", CONTAINERS)
def test_refused_containers(name: str, shared: Api, ready: Callable[[], None]) -> None:
    make, status, code, words = CONTAINERS[name]
    assert_problem(shared.checkpoint(make(), options=HIDDEN), status, code, words)
    ready()


def test_archives_of_too_many_members(shared: Api, ready: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch_save(MODULE.state_dict())
    monkeypatch.setattr(torch_archives, "_MEMBERS_MAX", 3)
    assert_problem(shared.checkpoint(data, options=HIDDEN), 413, "expands_too_much", "members")
    monkeypatch.setattr(zips, "DIRECTORY_MAX", 100)
    assert_problem(shared.checkpoint(data, options=HIDDEN), 413, "expands_too_much", "directory")
    ready()


def test_the_options_are_stored_complete(api: Api) -> None:
    """A pool of another kind is refused by what an earlier checkpoint was said to take."""
    api.project()
    small = weights(build("wideresnet", SMALL))
    options = {"depth": 10, "widen": 1, "in_channels": 3}
    assert_problem(api.checkpoint(small, architecture="wideresnet", options={}), 422, "invalid_manifest", "in_channels")
    assert api.checkpoint(small, architecture="wideresnet", options=options).status_code == 202
    assert_problem(api.upload(npy(np.zeros((2, 6), np.float32))), 422, "wrong_shape", "[3, height, width]")
