"""Layouts, which the service checks, are those of the modules that the worker builds; and these compute right."""

import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from store.architectures import ARCHITECTURES, PACKAGES, LayoutError, architecture
from worker.checkpoints import load
from worker.errors import CheckpointError
from worker.networks import build

CASES: list[tuple[str, dict[str, Any], list[int]]] = [
    ("mlp", {"in_features": 7, "hidden": [5, 4]}, [7]),
    ("mlp", {"in_features": 12, "hidden": []}, [3, 2, 2]),
    ("cnn", {"input_shape": [3, 32, 32]}, [3, 32, 32]),
    ("cnn", {"input_shape": [1, 28, 20]}, [1, 28, 20]),
    ("resnet18", {"in_channels": 3, "stem": "imagenet"}, [3, 64, 48]),
    ("resnet18", {"in_channels": 1, "stem": "cifar"}, [1, 28, 28]),
    ("vgg11", {"in_channels": 3, "stem": "cifar"}, [3, 32, 40]),
    ("vgg11", {"in_channels": 2, "stem": "cifar", "batch_norm": True}, [2, 32, 32]),
    ("wideresnet", {"in_channels": 3, "depth": 10, "widen": 1}, [3, 16, 16]),
    ("wideresnet", {"in_channels": 1, "depth": 16, "widen": 3}, [1, 20, 12]),
    ("embedding:linear", {"in_features": 9}, [9]),
    ("embedding:mlp", {"in_features": 9, "hidden": []}, [9]),
    ("embedding:mlp", {"in_features": 9, "hidden": [6, 5]}, [9]),
]


@pytest.mark.parametrize(("name", "options", "shape"), CASES)
def test_layouts_are_those_of_the_modules(name: str, options: dict[str, Any], shape: list[int]) -> None:
    options = {**options, "classes": 4}
    module, described = build(name, options).eval(), architecture(name, options)
    assert {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()} == described.layout()
    assert described.accepts(tuple(shape))
    assert not described.accepts((*shape, 2))
    assert module(torch.zeros(2, *shape)).shape == (2, 4)
    # What the options leave out comes from the pool.
    left_out = {
        key: value for key, value in options.items() if key not in {"in_features", "input_shape", "in_channels"}
    }
    assert architecture(name, left_out).fitted(tuple(shape), 4).model_dump() == described.model_dump()


@pytest.mark.parametrize("normalised", [False, True])
def test_the_large_classifier_has_the_layout_of_its_module(normalised: bool) -> None:
    options = {"in_channels": 3, "classes": 5, "stem": "imagenet", "batch_norm": normalised}
    with torch.device("meta"):
        module = build("vgg11", options)
    layout = architecture("vgg11", options).layout()
    assert {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()} == layout
    assert layout is not None
    assert layout["classifier.0.weight"] == (4096, 25088)
    assert sum(key.endswith("running_var") for key in layout) == (8 if normalised else 0)


def test_every_architecture_is_tried() -> None:
    assert {name for name, _, _ in CASES} == ARCHITECTURES.keys()


def test_parameters_are_as_many_as_in_the_papers() -> None:
    def parameters(name: str, **options: Any) -> int:
        with torch.device("meta"):
            return sum(tensor.numel() for tensor in build(name, options).parameters())

    assert parameters("resnet18", in_channels=3, classes=1000) == 11_689_512
    assert parameters("vgg11", in_channels=3, classes=1000) == 132_863_336
    assert parameters("vgg11", in_channels=3, classes=1000, batch_norm=True) == 132_868_840
    # 36.5 million for WRN-28-10, in the paper's table.
    assert round(parameters("wideresnet", in_channels=3, classes=10, depth=28, widen=10), -5) == 36_500_000


@pytest.mark.parametrize(
    ("name", "options", "shape", "words"),
    [
        ("wideresnet", {"depth": 27}, (3, 32, 32), "6 n + 4"),
        ("resnet18", {"stem": "small"}, (3, 32, 32), "stem"),
        ("resnet18", {}, (6,), "[channels, height, width], not items of [6]"),
        ("resnet18", {}, None, "in_channels"),
        ("embedding:linear", {}, (3, 8, 8), "feature vectors"),
        ("embedding:mlp", {}, None, "in_features"),
        ("vgg11", {"batch_norm": 1}, (3, 32, 32), "batch_norm"),
        ("timm:a/b", {}, (3, 32, 32), "letters"),
        ("timm:", {}, (3, 32, 32), "letters"),
        ("timm:hf-hub:x", {}, (3, 32, 32), "letters"),
        ("timm", {}, (3, 32, 32), "timm:NAME"),
        ("torchvision:resnet50", {}, (1, 32, 32), "3 channels"),
        ("torchvision:resnet50", {"depth": 3}, (3, 32, 32), "classes, in_channels"),
        ("other:resnet50", {}, (3, 32, 32), "no architecture"),
    ],
)
def test_options_that_describe_no_network(
    name: str, options: dict[str, Any], shape: tuple[int, ...] | None, words: str
) -> None:
    with pytest.raises(LayoutError) as raised:
        architecture(name, options).fitted(shape, 3)
    assert words in str(raised.value)


def test_images_too_small_to_be_pooled_are_not_accepted() -> None:
    network = architecture("vgg11", {"in_channels": 3, "classes": 2})
    assert not network.accepts((3, 31, 40))
    assert "at least 32" in network.expects()


# Other packages


class Theirs(nn.Module):
    """A network with a normalisation and an index table."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)
        self.register_buffer("table", torch.arange(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.bn(x).mean(dim=(2, 3))[:, self.table])
        return out


def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        asked.append({"name": name, **options})
        if name == "stubborn":
            raise TypeError("in_chans cannot be changed")
        return Theirs(options["in_chans"], options["num_classes"])

    package: Any = ModuleType("timm")
    package.create_model, package.is_model = create_model, lambda name: name in {"theirs.a1", "stubborn"}
    monkeypatch.setitem(sys.modules, "timm", package)
    return asked


def fake_torchvision(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def get_model(name: str, **options: Any) -> nn.Module:
        asked.append({"name": name, **options})
        return Theirs(3, options["num_classes"])

    def list_models(module: ModuleType | None = None) -> list[str]:
        return ["theirs"] if module is models else ["theirs", "detector"]

    models: Any = ModuleType("torchvision.models")
    models.get_model, models.list_models = get_model, list_models
    package: Any = ModuleType("torchvision")
    package.models = models
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return asked


def test_timm_builds_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_timm(monkeypatch)
    module = build("timm:theirs.a1", {"classes": 5, "in_channels": 2})
    assert module(torch.zeros(3, 2, 4, 4)).shape == (3, 5)
    assert asked == [{"name": "theirs.a1", "pretrained": False, "num_classes": 5, "in_chans": 2}]
    with pytest.raises(CheckpointError, match="no network 'unheard_of'"):
        build("timm:unheard_of", {"classes": 5, "in_channels": 2})
    with pytest.raises(CheckpointError, match="2 input channels: in_chans cannot be changed"):
        build("timm:stubborn", {"classes": 5, "in_channels": 2})


def test_torchvision_builds_classifiers_without_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_torchvision(monkeypatch)
    assert build("torchvision:theirs", {"classes": 5, "in_channels": 3})(torch.zeros(3, 3, 4, 4)).shape == (3, 5)
    assert asked == [{"name": "theirs", "weights": None, "num_classes": 5}]
    with pytest.raises(CheckpointError, match="no network 'detector'"):
        build("torchvision:detector", {"classes": 5, "in_channels": 3})


@pytest.mark.parametrize("package", ["timm", "torchvision"])
@pytest.mark.parametrize("error", [ImportError("No module"), RuntimeError("built for another torch")])
def test_a_missing_package_is_named_with_its_extra(
    package: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> ModuleType:
        raise error

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CheckpointError, match=r"lookahead\[vision\]") as raised:
        build(f"{package}:resnet50", {"classes": 5, "in_channels": 3})
    assert f"{package}:resnet50" in str(raised.value)
    assert str(error) in str(raised.value)


# The page that describes them

PAGE = (Path(__file__).parents[2] / "docs/networks.md").read_text()
SECTIONS = dict(re.findall(r"^## (\S+:?\S*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_architecture_and_option_is_described() -> None:
    names = {**ARCHITECTURES, **{f"{name}:NAME": kind for name, kind in PACKAGES.items()}}
    assert names.keys() == SECTIONS.keys() - {"Files"}
    for name, kind in names.items():
        for option in kind.model_fields.keys() - {"classes"}:
            assert f"| `{option}` |" in SECTIONS[name], (name, option)


@pytest.mark.parametrize("name", sorted(SECTIONS.keys() - {"Files"}))
def test_the_page_says_how_to_make_a_checkpoint(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", SECTIONS[name], re.DOTALL)
    (text,) = re.findall(r"```json\n(.*?)```", SECTIONS[name], re.DOTALL)
    manifest = json.loads(text)
    assert architecture(manifest["architecture"], manifest["options"]).classes == 10
    packages = set(re.findall(r"^import (timm|torchvision)", program, re.MULTILINE))
    if any(importlib.util.find_spec(package) is None for package in packages):
        pytest.skip(f"not installed: {packages}")
    monkeypatch.chdir(tmp_path)
    exec(program, {"__name__": "example"})
    (file,) = tmp_path.glob("weights.*")
    assert isinstance(load(manifest["architecture"], manifest["options"], file), nn.Module)
