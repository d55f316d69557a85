"""The plan: which parameter goes which way, found by watching small forward passes and verified against autograd."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ntk.capture.network import Network
from ntk.capture.parts import Part, part_of, with_bias
from ntk.capture.uses import Axis, BroadcastUse, Placed, Sizes, Use
from ntk.forms.outer import Outer

Tensor = torch.Tensor


@dataclass
class Plan:
    """How every parameter of a network enters the kernel."""

    uses: list[Use]  # as seen in a pass over three items; without tensors
    placed: dict[int, Placed]
    parts: list[Part]
    per_example: dict[str, str]  # parameter -> why
    unused: list[str]
    loop: bool = False  # per-example gradients one item at a time, because vmap cannot
    activations: int = 0  # bytes of saved inputs and outputs of one item
    calls: dict[int, list[int]] = field(init=False, default_factory=dict)  # output -> uses

    def __post_init__(self) -> None:
        for k, use in enumerate(self.uses):
            if k in self.placed:
                self.calls.setdefault(use.call, []).append(k)


def make_plan(
    network: Network, x: Tensor, *, turned: frozenset[str] = frozenset(), refused: dict[str, str] | None = None
) -> Plan:
    """A plan from passes over two and three items of x (3, ...).

    `turned`: parameters whose items are innermost on merged axes; `refused`: parameters known to need differentiation
    per example, and why.
    """
    small_pass, large_pass = (network.watch(x[:items])[1] for items in (2, 3))
    two, three = small_pass.uses, large_pass.uses
    escaped = small_pass.escaped | large_pass.escaped
    reasons = {name: f"taken by {function}" for name, function in escaped.items()} | (refused or {})
    if [(use.parameter, type(use.kind)) for use in two] != [(use.parameter, type(use.kind)) for use in three]:
        reasons = dict.fromkeys(network.parameters, "the forward pass depends on the data")
    placed: dict[int, Placed] = {}
    for k, (small, large) in enumerate(zip(two, three, strict=False)):
        if large.parameter in reasons:
            continue
        where = _placed(small, large)
        if where is None:
            reasons[large.parameter] = "used where no axis is the items'"
        else:
            placed[k] = where.turned() if large.parameter in turned and where.output.multiple > 1 else where
    parts = []
    for name, parameter in network.parameters.items():
        mine = {k: use for k, use in enumerate(three) if use.parameter == name}
        if name in reasons or not mine:
            continue
        part = part_of(name, mine, placed, parameter.shape)
        if part is None:
            reasons[name] = "used in ways that do not combine"
        else:
            parts.append(part)
    known = {name for part in parts for name in part.parameters}
    return Plan(
        uses=[Use(use.parameter, use.kind, use.call, None, use.shape) for use in three],
        placed={k: where for k, where in placed.items() if three[k].parameter in known},
        parts=_fused(parts, three, network),
        per_example={name: why for name, why in reasons.items() if name in network.parameters},
        unused=[name for name in network.parameters if name not in known and name not in reasons],
        activations=_activations(three),
    )


def per_example_plan(network: Network, why: str) -> Plan:
    """Everything differentiated per example, one item at a time."""
    return Plan([], {}, [], dict.fromkeys(network.parameters, why), [], loop=True)


def _activations(uses: Sequence[Use]) -> int:
    """Bytes of one item of three, outputs and what was saved counted once each."""
    outputs = {use.call: math.prod(use.shape) for use in uses}
    saved = {id(use.saved): use.saved.nbytes for use in uses if use.saved is not None}
    return (8 * sum(outputs.values()) + sum(saved.values())) // 3


def _placed(small: Use, large: Use) -> Placed | None:
    """Where the items are, from passes over two and three of them."""
    output = _axis(small.shape, large.shape)
    if output is None:
        return None
    if isinstance(large.kind, BroadcastUse):
        missing = len(large.shape) - len(large.kind.aligned)
        along = output.index >= missing and large.kind.aligned[output.index - missing] > 1
        return None if along else Placed(output, None)
    assert small.saved is not None
    assert large.saved is not None
    saved = _axis(tuple(small.saved.shape), tuple(large.saved.shape))
    return None if saved is None else Placed(output, saved)


def _axis(small: Sizes, large: Sizes) -> Axis | None:
    if len(small) != len(large):
        return None
    differing = [k for k, (a, b) in enumerate(zip(small, large, strict=True)) if a != b]
    if len(differing) != 1:
        return None
    (k,) = differing
    if 3 * small[k] != 2 * large[k]:
        return None
    return Axis(k, small[k] // 2)


def _fused(parts: list[Part], uses: Sequence[Use], network: Network) -> list[Part]:
    """Biases joined to the weights they came with, where that is cheaper."""
    fused: list[Part] = []
    by_use = {part.uses[0]: part for part in parts if len(part.uses) == 1}
    gone: set[str] = set()
    for part in parts:
        if isinstance(part.form, Outer) and len(part.uses) == 1:
            bias = by_use.get(part.uses[0] + 1)
            joined = bias and with_bias(part, bias, uses, network.parameters[part.parameters[0]].shape)
            if bias and joined:
                fused.append(joined)
                gone.update(bias.parameters)
                continue
        fused.append(part)
    return [part for part in fused if not (len(part.parameters) == 1 and part.parameters[0] in gone)]
