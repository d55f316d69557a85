"""One forward and one backward pass: what a network's tangent kernel over some items is made of.

Source: [TH] "Insights From Infinitely Wide Neural Networks", section 3.2 (the pseudo-NTK).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ntk.capture.network import Network
from ntk.capture.parts import Part
from ntk.capture.plan import Plan, per_example_plan
from ntk.capture.uses import Use, contribution
from ntk.capture.verify import verified
from ntk.errors import ChangingPassError
from ntk.forms.base import Form, Parts
from ntk.forms.vector import Vector
from ntk.kernel import Tick, nothing
from ntk.products import Blocks, Products

Tensor = torch.Tensor

# Activations of a batch that are held at a time: enough for the processor, whatever the number of items.
WORKING_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
_BATCH_MAX = 1024
# Items on which a plan is made and verified: a few, as units may be dead on one.
ITEMS_CHECKED = 4


@dataclass(frozen=True)
class Features:
    """What is kept of a tile of items: inner products of these, summed over parts, are kernel entries."""

    forms: tuple[Form, ...]
    parts: tuple[Parts, ...]

    def add(self, total: Tensor, other: "Features", blocks: Blocks, products: Products) -> None:
        """Add kernel entries to these blocks of `total` (N, M), float64: parts are summed in float64."""
        with products.active():
            for form, mine, its in zip(self.forms, self.parts, other.parts, strict=True):
                form.add(total, mine, mine if other is self else its, blocks, products)

    def diagonal(self) -> Tensor:
        """(N,) kernel of each item with itself, float64, by way of materialised rows."""
        total: Tensor | None = None
        for form, parts in zip(self.forms, self.parts, strict=True):
            for rows in form.rows(parts, entries=1 << 16):
                squares = rows.double().square().sum(dim=1)
                total = squares if total is None else total.add_(squares)
        assert total is not None
        return total

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(tensor.nbytes for parts in self.parts for tensor in parts)


class Linearization:
    """A network in eval mode, and how each of its parameters enters the kernel."""

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        """Raises UnsupportedNetworkError."""
        self.network = Network(module, device, dtype)
        self._dtype = dtype
        self._device = device
        self._plan: Plan | None = None

    def plan(self, x: Tensor) -> Plan:
        """How each parameter enters the kernel, found on the first call. Raises UnsupportedNetworkError."""
        if self._plan is None:
            few = x[torch.arange(ITEMS_CHECKED, device=x.device) % len(x)]
            self._plan = verified(self.network, few, self._dtype)
        return self._plan

    def give_up(self) -> None:
        """Differentiate everything item by item from now on: the pass was seen to change with the items."""
        self._plan = per_example_plan(self.network, "the forward pass depends on the data")

    def features(self, x: Tensor, weights: Tensor, tick: Tick = nothing) -> Features:
        """Features of items x (N, ...) for the gradients of weights·f(x), `weights` (C,), or (N, C) item by item.

        Runs in batches sized so that memory for activations does not grow with N; `tick` is called for each.
        """
        plan = self.plan(x)
        forms = tuple(part.form for part in plan.parts)
        if plan.per_example:
            forms += (Vector(sum(self.network.parameters[name].numel() for name in plan.per_example)),)
        kept: list[list[Tensor]] = []
        size = self.batch_size(plan)
        for start in range(0, len(x), size):
            own = weights if weights.ndim == 1 else weights[start : start + size]
            found = capture(self.network, plan, x[start : start + size], own)
            if not kept:
                kept = [[part.new_empty((len(x), *part.shape[1:])) for part in parts] for parts in found]
            for whole, parts in zip(kept, found, strict=True):
                for target, part in zip(whole, parts, strict=True):
                    target[start : start + size] = part
            tick()
        return Features(forms, tuple(tuple(parts) for parts in kept))

    def batch_size(self, plan: Plan) -> int:
        """Items per forward pass."""
        working = WORKING_BYTES.get(self._device.type, WORKING_BYTES["cpu"])
        return max(1, min(_BATCH_MAX, working // max(1, plan.activations)))


def capture(network: Network, plan: Plan, x: Tensor, weights: Tensor) -> list[Parts]:
    """Parts of the gradients of weights·f over one batch, in the order of the plan's parts; `weights` (C,) or (B, C).

    Raises ChangingPassError when the pass does not use parameters as the plan says.
    """
    alone = list(plan.per_example)
    if not plan.parts:
        return [(network.per_example(alone, x, weights, loop=plan.loop),)] if alone else []
    collected = _Collected(plan)

    def on_output(call: int, output: Tensor) -> None:
        if call in plan.calls:
            output.register_hook(partial(collected.consume, call))

    outputs, recorder = network.watch(x, on_output)
    collected.uses = recorder.uses
    if [use.parameter for use in collected.uses] != [use.parameter for use in plan.uses]:
        raise ChangingPassError("the forward pass uses parameters in another order than it did before")
    if outputs.requires_grad:
        (outputs * weights).sum().backward()
    found = collected.finished(weights)
    if alone:
        found.append((network.per_example(alone, x, weights, loop=plan.loop),))
    return found


class _Collected:
    """Contributions as the backward pass reaches them; a part is reduced to what is kept once it is complete."""

    def __init__(self, plan: Plan) -> None:
        self.uses: Sequence[Use] = ()
        self._plan = plan
        self._owner: dict[int, Part] = {k: part for part in plan.parts for k in part.uses}
        self._waiting: dict[int, Parts] = {}
        self._found: dict[tuple[str, ...], Parts] = {}

    def consume(self, call: int, gradient: Tensor) -> None:
        with torch.no_grad():
            for k in self._plan.calls[call]:
                if k not in self._owner:
                    continue  # a bias that goes with its weight
                self._waiting[k] = contribution(self.uses[k], self._plan.placed[k], gradient)
                self.uses[k].saved = None
                part = self._owner[k]
                if all(use in self._waiting for use in part.uses):
                    merged = part.merge([self._waiting.pop(use) for use in part.uses])
                    self._found[part.parameters] = part.form.keep(merged)

    def finished(self, like: Tensor) -> list[Parts]:
        """All parts. What the outputs do not depend on has no gradient: it counts as zero, on the device of `like`."""
        for part in self._plan.parts:
            for k in part.uses:
                if part.parameters not in self._found and k not in self._waiting:
                    self.consume(self.uses[k].call, like.new_zeros(self.uses[k].shape))
        return [self._found[part.parameters] for part in self._plan.parts]


def sum_weights(classes: int, like: Tensor) -> Tensor:
    """(C,) weights whose gradient is the pseudo-NTK's: Σ_c f_c/√C [TH 3.2]."""
    return torch.full((classes,), 1 / math.sqrt(classes), dtype=like.dtype, device=like.device)
