"""Layouts, which the service checks, are those of the modules that the worker builds."""

from typing import Any

import pytest
import torch

from store.architectures import ARCHITECTURES, architecture
from worker.checkpoints import build


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"in_features": 7, "hidden": [5, 4], "classes": 3}),
        ("mlp", {"in_features": 7, "hidden": [], "classes": 2}),
        ("cnn", {"input_shape": [3, 32, 32], "classes": 10}),
        ("cnn", {"input_shape": [1, 28, 20], "classes": 4}),
    ],
)
def test_layouts_are_those_of_the_modules(name: str, options: dict[str, Any]) -> None:
    module = build(name, options)
    layout = architecture(name, options).layout()
    assert {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()} == layout
    shape = options.get("input_shape", [options.get("in_features")])
    assert architecture(name, options).accepts(tuple(shape))
    assert module(torch.zeros(2, *shape)).shape == (2, options["classes"])
    assert name in ARCHITECTURES
