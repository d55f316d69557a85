"""Every kernel a project may ask for, through the service, against its definition."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ntk.features import ProjectedKernel
from ntk.head import fresh_head
from ntk.infinite import relu_ntk
from ntk.kernels import KernelEngine
from tests import oracles
from tests.api import Api, npz, torch_save, vectors, weights
from tests.ntk.modules import Lambda
from tests.ntk.test_kernels import relative_error
from tests.worker.conftest import run_queued
from tests.worker.model import Reference
from worker import kernels
from worker.context import Context
from worker.networks import build

Tensor = torch.Tensor


def hidden(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module[:-1](x).detach()  # type: ignore[index]
    return found


def last_layer(module: nn.Module, x: Tensor) -> Tensor:
    h = hidden(module, x)
    return 3 * (h @ h.mT + 1)


def single_logit(module: nn.Module, x: Tensor) -> Tensor:
    return oracles.gram(Lambda(lambda self, x: self.module(x)[:, :1], module=module), x)


def head(module: nn.Module, x: Tensor) -> Tensor:
    h = hidden(module, x)
    return oracles.gram(fresh_head(h.shape[1], [12], 3, 0).double(), h)


def infinite_head(module: nn.Module, x: Tensor) -> Tensor:
    h = hidden(module, x)
    return relu_ntk(h, h, 2)


def projected(module: nn.Module, x: Tensor) -> Tensor:
    return ProjectedKernel(KernelEngine(module, dtype=torch.float64), 64, seed=0).gram(x)


KINDS: dict[str, tuple[dict[str, Any], Callable[[nn.Module, Tensor], Tensor]]] = {
    "single logit": ({"kind": "single_logit"}, single_logit),
    "last layer": ({"kind": "last_layer"}, last_layer),
    "head": ({"kind": "head", "head": {"hidden": [12]}}, head),
    "infinite head": ({"kind": "head", "head": {"hidden": [12, 12], "infinite": True}}, infinite_head),
    "projected": ({"kind": "projected", "projection": {"dim": 64}}, projected),
    "projection of pntk": ({"projection": {"dim": 64}}, projected),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kernel_through_the_service(name: str, api: Api, working: Context) -> None:
    options, definition = KINDS[name]
    reference = Reference(api, items=60, dtype="float64", ridge=1e-2, seed=7, **options)
    x = torch.randn((60, 6), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    reference.gram = definition(reference.module.double(), x)
    for index in range(10):
        reference.label(index)
    reference.prepare()
    reference.check(1e-6)
    for index in range(10, 20):
        reference.label(index)
    reference.check(1e-6)


def test_options_that_do_not_belong_together(api: Api) -> None:
    for kernel, words in (
        ({"kind": "last_layer", "projection": {"dim": 64}}, "projection belongs to"),
        ({"kind": "pntk", "head": {}}, "head belongs to"),
        ({"kind": "entk"}, "kind"),
        ({"projection": {"dim": 4}}, "16"),
        ({"products": "float16"}, "products"),
    ):
        answer = api.post("/projects", {"name": "q", "classes": ["a", "b"], "kernel": kernel})
        assert answer.status_code == 422
        assert words in answer.text


def test_a_prepared_state_dict_of_torch_save_and_its_coverage(api: Api, worker: Context) -> None:
    api.project()
    api.upload(npz(x=vectors(20)))
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    answer = api.checkpoint(torch_save(module.state_dict()), options={"hidden": [8]})
    assert answer.status_code == 202, answer.text
    run_queued(worker)
    job = api.get(answer.headers["location"]).json()
    assert job["status"] == "succeeded", job
    assert job["result"]["coverage"] == {
        "parameters_by_form": {"outer product": 83},
        "per_example": {},
        "unused": [],
        "multiplications_per_entry": 25.0,
    }
    again = api.checkpoint(weights(module.double(), torch.float64), options={"hidden": [8]})
    assert again.status_code == 202


def test_a_network_without_such_a_kernel_fails_its_job_with_the_reason(
    api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project(kernel={"kind": "last_layer"})
    api.upload(npz(x=vectors(20)))
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    monkeypatch.setattr(kernels, "open_network", lambda *_: nn.Sequential(module, nn.Tanh()))
    answer = api.checkpoint(weights(module), options={"hidden": []})
    run_queued(worker)
    job = api.get(answer.headers["location"]).json()
    assert (job["status"], job["error"]["code"]) == ("failed", "unsupported_network")
    assert "does not end in a linear layer" in job["error"]["detail"]


ARCHITECTURES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("mlp", {"in_features": 12, "hidden": [16, 16], "classes": 4}, (12,)),
    ("cnn", {"input_shape": [1, 18, 16], "classes": 4}, (1, 18, 16)),
    ("resnet18", {"in_channels": 3, "classes": 4, "stem": "cifar"}, (3, 16, 16)),
    ("vgg11", {"in_channels": 3, "classes": 4, "stem": "cifar", "batch_norm": True}, (3, 32, 32)),
    ("wideresnet", {"in_channels": 3, "classes": 4, "depth": 10, "widen": 1}, (3, 16, 16)),
    ("embedding:mlp", {"in_features": 12, "hidden": [16], "classes": 4}, (12,)),
]


@pytest.mark.parametrize(("name", "options", "shape"), ARCHITECTURES, ids=[case[0] for case in ARCHITECTURES])
def test_every_architecture_is_exact(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = build(name, options).double()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    x = torch.randn((4, *shape), dtype=torch.float64)
    expected = oracles.gram(module, x)
    engine = KernelEngine(module, dtype=torch.float64)
    assert relative_error(engine.gram(x), expected) < 1e-10
    assert engine.coverage(x).per_example == {}
    deep = 5e-4 if name in ("resnet18", "vgg11", "wideresnet") else 1e-5
    assert relative_error(KernelEngine(module, precision="float32").gram(x), expected) < deep
