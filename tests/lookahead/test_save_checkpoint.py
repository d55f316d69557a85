"""A module saved is the module that a worker makes; what is not is named by key or layer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lookahead import CheckpointMismatchError, UnknownArchitectureError, save_checkpoint
from tests import factories
from worker.checkpoints import load
from worker.networks import build


class Tutorial(nn.Module):
    """The tutorial's network as people write it."""

    def __init__(self, channels: int = 3, flat: int = 400, classes: int = 10, scale: float = 1.0) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(flat, 120), nn.Linear(120, 84), nn.Linear(84, classes)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x * self.scale)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2).flatten(1)
        found: torch.Tensor = self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))
        return found


class Named(nn.Module):
    """A perceptron with names of its own."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)
        self.skip = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(x.flatten(1)))
        found: torch.Tensor = self.last(self.drop(hidden if not self.skip else hidden * hidden))
        return found


def wide(layers: int = 10) -> nn.Module:
    return build("wideresnet", {"depth": layers, "widen": 1, "in_channels": 3, "classes": 4})


@pytest.mark.parametrize(
    ("model", "architecture", "some"),
    [
        (factories.mlp(6, [16, 8], 3), "mlp", {"in_features": 6, "hidden": [16, 8], "classes": 3}),
        (nn.Linear(5, 2), "embedding:linear", {"in_features": 5, "classes": 2}),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)), "mlp", {"hidden": [4]}),
        (Named(), "mlp", {"in_features": 6, "hidden": [8]}),
        (Tutorial(), "cnn", {"input_shape": [3, 32, 32], "classes": 10}),
        (Tutorial(1, 256, 4), "cnn", {"input_shape": [1, 28, 28], "classes": 4}),
        (wide(), "wideresnet", {"depth": 10, "widen": 1}),
        (build("resnet18", {"stem": "cifar", "in_channels": 1, "classes": 4}), "resnet18", {"stem": "cifar"}),
        (
            build("vgg11", {"stem": "cifar", "in_channels": 3, "classes": 4, "batch_norm": True}),
            "vgg11",
            {"stem": "cifar", "batch_norm": True},
        ),
    ],
)
def test_networks_are_recognised(model: nn.Module, architecture: str, some: dict[str, object], tmp_path: Path) -> None:
    model.eval()
    saved = save_checkpoint(model, tmp_path / "w.safetensors", loss="squared")
    assert saved.manifest["architecture"] == architecture
    assert saved.manifest["options"].items() >= some.items()
    assert json.loads((tmp_path / "w.json").read_text()) == saved.manifest
    assert saved.difference < 1e-8
    assert load(architecture, saved.manifest["options"], tmp_path / "w.safetensors").training is False


def test_a_head_on_vectors_by_the_inputs(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    inputs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    outputs = model(torch.tensor(inputs)).detach()
    saved = save_checkpoint(model, tmp_path / "w.safetensors", inputs=inputs, outputs=outputs)
    assert saved.manifest["architecture"] == "embedding:mlp"
    with pytest.raises(CheckpointMismatchError, match="agree with the inputs divided by 255"):
        save_checkpoint(model, tmp_path / "w.safetensors", inputs=inputs * 255, outputs=outputs)
    with pytest.raises(CheckpointMismatchError, match=r"other outputs than you expect.*pipeline"):
        save_checkpoint(model, tmp_path / "w.safetensors", inputs=inputs, outputs=outputs * 2)


def refused(model: nn.Module, tmp_path: Path, **more: object) -> str:
    with pytest.raises((CheckpointMismatchError, UnknownArchitectureError)) as caught:
        save_checkpoint(model, tmp_path / "w.safetensors", **more)  # type: ignore[arg-type]
    assert not (tmp_path / "w.safetensors").exists()
    return str(caught.value)


def test_scaling_inside_the_model(tmp_path: Path) -> None:
    said = refused(Tutorial(scale=1 / 255).eval(), tmp_path)
    assert "before layer 'conv1'" in said
    assert "multiplies by 0.003922" in said


def test_training_mode(tmp_path: Path) -> None:
    assert "training mode, in which layer 'drop' (Dropout)" in refused(Named().train(), tmp_path)
    model = wide().train()
    assert "layer 'block1.layer.0.bn1' (BatchNorm2d)" in refused(model, tmp_path)
    norm = build("resnet18", {"stem": "cifar", "in_channels": 3, "classes": 4})
    norm.bn1 = nn.BatchNorm2d(64, track_running_stats=False)
    assert "'bn1' normalises by the batch" in refused(norm.eval(), tmp_path)


def test_what_happens_between_layers(tmp_path: Path) -> None:
    model = Named().eval()
    model.skip = True
    assert "into layer 'last' ('3' there) differs" in refused(model, tmp_path)
    strided = build("resnet18", {"stem": "imagenet", "in_channels": 3, "classes": 4}).eval()
    strided.conv1.stride = (1, 1)  # type: ignore[assignment]
    assert "layer 'conv1' computes something else" in refused(strided, tmp_path)


def test_layers_that_no_architecture_has(tmp_path: Path) -> None:
    softmax = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Softmax(1)).eval()
    assert "layer '2' is Softmax" in refused(softmax, tmp_path)
    tanh = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).eval()
    assert "layer '2' is Tanh" in refused(tanh, tmp_path)
    assert "say which it is" in refused(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), tmp_path).lower()


def test_a_named_architecture_that_does_not_fit(tmp_path: Path) -> None:
    model = factories.mlp(6, [16, 8], 3).eval()
    said = refused(model, tmp_path, architecture="mlp", options={"hidden": [16, 9], "in_features": 6})
    assert "tensor '3.weight' has shape [8, 16], and [9, 16] is needed" in said
    assert "is missing" in refused(
        model, tmp_path, architecture="mlp", options={"hidden": [16, 8, 3], "in_features": 6}
    )
    assert "give inputs=" in refused(model, tmp_path, architecture="mlp", options={"hidden": [16, 8]})
    inputs = torch.zeros(2, 6)
    options = {"hidden": [16, 8]}
    saved = save_checkpoint(model, tmp_path / "w.safetensors", architecture="mlp", options=options, inputs=inputs)
    assert saved.manifest["options"] == {"in_features": 6, "hidden": [16, 8], "classes": 3}


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = factories.mlp(6, [16, 8], 3).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    save_checkpoint(model, tmp_path / "w.safetensors")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    model = nn.Linear(5, 2)
    model.weight.data[0, 0] = float("nan")
    assert "'weight' has NaN" in refused(model, tmp_path)
