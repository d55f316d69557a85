"""Windows in memory for strategies: items, a small network, its kernel, labels. Everything is seeded."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, get_args, get_origin

import torch
from torch import nn

from api_schemas.strategies import OPTIONS, checked_options
from ntk.kernels import KernelEngine
from ntk.posterior import Posterior
from ntk.selection import Allowed
from store.tables import Json
from tests import factories
from worker.strategies.choose import STRATEGIES, Choice, choose
from worker.strategies.window import Window
from worker.training.loss_prediction import LossPredictor, loss_predictor

Tensor = torch.Tensor
CLASSES = 3

# Numbers that change what a strategy does; options that name one of a few ways are found in the schema.
NUMBERS: dict[str, list[dict[str, Any]]] = {
    "mlmoc": [{"noise": 0.5}],
    "emoc": [{"noise": 0.5}],
    "eer": [{"noise": 0.5}],
    "infinite_ntk": [{"depth": 1}],
    "gp": [{"length_scale": 0.7}],
    "npc": [{"num_subsets": 1}],
    "dynamical": [{"gamma": 0.0}],
    "ntkcpl": [{"depth": 3}, {"max_clusters": 2}],
    "badge": [{"partitions": 3}, {"partitions": 1000}],
    "albl": [{"exploration": 0.5}, {"delta": 0.9, "horizon": 1}],
    "bald": [{"samples": 2}, {"dropout": 0.9}],
}
# What the default comes to where nothing is known of how a network was trained.
SAME = {"probabilities": "softmax"}


def variants(strategy: str) -> list[Json]:
    """The defaults of a strategy, then one set of options for every other way it can be asked for."""
    named = [
        {name: value}
        for name, field in OPTIONS[strategy].model_fields.items()
        if get_origin(field.annotation) is not None
        for value in get_args(field.annotation)
        if isinstance(value, str) and value not in (field.default, SAME.get(name))
    ]
    return [checked_options(strategy, given) for given in [{}, *named, *NUMBERS.get(strategy, [])]]


def changed(strategy: str, options: Json) -> str:
    """A strategy and what differs from its defaults, in words."""
    defaults = checked_options(strategy, {})
    return " ".join([strategy, *(f"{name}={value}" for name, value in options.items() if value != defaults[name])])


EVERY: list[tuple[str, Json]] = [(strategy, options) for strategy in STRATEGIES for options in variants(strategy)]
NAMES = [changed(strategy, options) for strategy, options in EVERY]


@dataclass(frozen=True)
class Case:
    """What a window is made from. Indices are rows of x; an item may be neither labeled nor a candidate."""

    x: Tensor  # (N, ...)
    module: nn.Module
    gram: Tensor  # (N, N)
    outputs: Tensor  # (N, C)
    keys: Tensor  # (N,) distinct, in no order
    labeled: Sequence[int]
    labels: Sequence[int]  # of the labeled ones
    candidates: Sequence[int]

    def window(self) -> Window:
        """A fresh window: its posterior, its network and what it keeps are nobody else's."""
        dtype = self.x.dtype
        return Window(
            posterior=Posterior(
                self.gram.to(dtype, copy=True),
                self.outputs.clone(),
                1e-2 * float(self.gram.diagonal().mean()),
                labeled=torch.tensor(self.labeled, dtype=torch.long),
                labels=torch.tensor(self.labels, dtype=torch.long),
                candidates=torch.tensor(self.candidates, dtype=torch.long),
            ),
            network_outputs=self.outputs.clone(),
            inputs_of=lambda indices: self.x[indices],
            order=self.keys.clone(),
            open_module=lambda: deepcopy(self.module),
            dtype=dtype,
            open_loss_predictor=lambda module: _predictor(module, self.x[:1]),
        )

    def shuffled(self, seed: int) -> "Case":
        """The same items, labels and keys, kept in another order; labeled items and candidates are listed anew too."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.x), generator=generator)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        labeled = torch.randperm(len(self.labeled), generator=generator).tolist()
        candidates = torch.randperm(len(self.candidates), generator=generator).tolist()
        return replace(
            self,
            x=self.x[order],
            gram=self.gram[order][:, order],
            outputs=self.outputs[order],
            keys=self.keys[order],
            labeled=[int(place[self.labeled[k]]) for k in labeled],
            labels=[self.labels[k] for k in labeled],
            candidates=[int(place[self.candidates[k]]) for k in candidates],
        )

    def only(self, candidates: int) -> "Case":
        """The window with the first so many candidates in it, and no others."""
        kept = self.candidates[:candidates]
        gone = set(self.candidates[candidates:])
        items = [k for k in range(len(self.x)) if k not in gone]
        place = {item: k for k, item in enumerate(items)}
        return replace(
            self,
            x=self.x[items],
            gram=self.gram[items][:, items],
            outputs=self.outputs[items],
            keys=self.keys[items],
            labeled=[place[k] for k in self.labeled],
            candidates=[place[k] for k in kept],
        )


def network(kind: str, classes: int) -> nn.Module:
    """A float64 network for `vectors` of 5 numbers or `images` 2 × 7 × 7; `dropout` is for vectors too."""
    if kind == "images":
        module = factories.cnn(2, classes, seed=1)
        module(torch.zeros((1, 2, 7, 7), dtype=torch.float64))  # fixes the width of the last layer
        return module.eval()
    torch.manual_seed(1)
    middle: list[nn.Module] = [nn.Dropout(0.3)] if kind == "dropout" else []
    layers = [nn.Linear(5, 12), nn.ReLU(), *middle, nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, classes)]
    return nn.Sequential(*layers).double().eval()


def _predictor(module: nn.Module, sample: Tensor) -> LossPredictor:
    # Making layers draws from the process's own random numbers, which strategies must leave alone.
    with torch.random.fork_rng(devices=[]):
        return loss_predictor(module, sample, torch.Generator().manual_seed(3))


@cache
def case(
    kind: str = "vectors",
    *,
    labeled: int = 8,
    candidates: int = 28,
    others: int = 4,
    classes: int = CLASSES,
    label: int | None = None,
    alike: int = 1,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Case:
    """Random items with the tangent kernel of a small network.

    `label`: of every labeled item, instead of random ones; `alike`: so many neighbours in x are copies of one another.
    """
    with torch.random.fork_rng(devices=[]):
        module = network(kind, classes).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    size = labeled + candidates + others
    shape = (2, 7, 7) if kind == "images" else (5,)
    x = torch.randn((size, *shape), generator=generator, dtype=torch.float64)
    x = x[torch.arange(size) // alike * alike].to(dtype)
    engine = KernelEngine(deepcopy(module), dtype=dtype)
    order = torch.randperm(size, generator=generator).tolist()
    drawn = torch.randint(classes, (labeled,), generator=generator).tolist()
    # The first labels cover the classes, so that a random draw does not leave one out.
    labels = [k % classes if k < classes else drawn[k] for k in range(labeled)]
    return Case(
        x=x,
        module=module,
        gram=engine.gram(x),
        outputs=engine.outputs(x),
        keys=torch.randperm(10 * size, generator=generator)[:size],
        labeled=order[:labeled],
        labels=labels if label is None else [label] * labeled,
        candidates=order[labeled : labeled + candidates],
    )


# What a window can be like; the last ones are the corners.
SITUATIONS = MappingProxyType[str, Callable[[], Case]](
    {
        "vectors": case,
        "single precision": lambda: case(dtype=torch.float32),
        "dropout": lambda: case("dropout"),
        "images": lambda: case("images"),
        "two classes": lambda: case(classes=2),
        "pairs of copies": lambda: case(alike=2),
        "copies of one item": lambda: case(alike=1000),
        "one class labeled": lambda: case(label=1),
        "one label": lambda: case(labeled=1),
        "no labels": lambda: case(labeled=0),
        "one candidate": lambda: case(candidates=1),
        "one candidate and nothing else": lambda: case(labeled=0, candidates=1, others=0),
    }
)


def everything(window: Window) -> Tensor:
    """(m,) all candidates."""
    return torch.ones(window.posterior.m, dtype=torch.bool)


def pick(window: Window, strategy: str, options: Json, count: int = 4, seed: int = 5, **more: Any) -> Choice:
    """The strategy's choice among all candidates, or among `eligible` ones."""
    return choose(
        window, strategy, options, count=count, seed=seed, eligible=more.pop("eligible", everything(window)), **more
    )


def keys_of(window: Window, choice: Choice) -> list[int]:
    """Picked items by their keys."""
    return [int(key) for key in window.keys[choice.picks.indices]]


def contents_of(window: Window, choice: Choice) -> list[list[float]]:
    """Picked items by what they are: copies are one and the same."""
    picked = window.items(window.candidates[choice.picks.indices])
    found: list[list[float]] = picked[0 : len(picked)].flatten(1).tolist()
    return found


def check(choice: Choice, eligible: Tensor, count: int) -> None:
    """As many picks as there can be, each an eligible candidate, none twice, with a finite float64 score each."""
    indices, scores = choice.picks.indices, choice.picks.scores
    assert indices.dtype == torch.long
    assert indices.ndim == 1
    assert len(indices) == min(count, int(eligible.sum()))
    assert len(set(indices.tolist())) == len(indices)
    assert all(0 <= index < len(eligible) for index in indices.tolist())
    assert bool(eligible[indices].all())
    assert scores.dtype == torch.float64
    assert scores.shape == indices.shape
    assert bool(torch.isfinite(scores).all()), scores


def allowed(window: Window) -> Allowed:
    """All candidates, without rules."""
    return Allowed(everything(window), window.keys)
