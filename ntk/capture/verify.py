"""Plans are not believed: on a few items every part is compared with autograd, and what differs goes per example."""

import math
from dataclasses import replace

import torch

from ntk.capture.network import Network
from ntk.capture.parts import Part
from ntk.capture.plan import Plan, make_plan, per_example_plan
from ntk.errors import ChangingPassError, NonFiniteError, UnsupportedNetworkError
from ntk.products import Products, whole

Tensor = torch.Tensor


def verified(network: Network, x: Tensor, dtype: torch.dtype) -> Plan:
    """A plan for the network that agrees with autograd on x (a few items).

    Raises UnsupportedNetworkError where there is no kernel of single items: passes that are random, or that mix the
    items of a batch. Raises NonFiniteError.
    """
    outputs = _check_outputs(network, x, dtype)
    # Different weights for different outputs: what is right for their plain sum alone would not do.
    weights = torch.linspace(1.0, 0.5, outputs.shape[1], dtype=dtype, device=x.device)
    expected = [network.gradients(x[k : k + 1], weights) for k in range(2)]
    try:
        return _agreeing(network, x, weights, expected, dtype)
    except ChangingPassError:
        return per_example_plan(network, "the forward pass depends on the data")


def _agreeing(
    network: Network, x: Tensor, weights: Tensor, expected: list[dict[str, Tensor]], dtype: torch.dtype
) -> Plan:
    plan = make_plan(network, x[:3])
    wrong = _wrong(network, plan, x, weights, expected, dtype)
    if wrong:
        # Merged axes may hold the items innermost.
        plan = make_plan(network, x[:3], turned=frozenset(wrong))
        wrong = _wrong(network, plan, x, weights, expected, dtype)
    hidden = [name for name in plan.unused if any(bool(gradients[name].any()) for gradients in expected)]
    if wrong or hidden:
        reasons = dict.fromkeys(wrong, "its rule disagrees with autograd")
        reasons |= dict.fromkeys(hidden, "used where no function shows it")
        plan = make_plan(network, x[:3], refused=reasons)
        if left := _wrong(network, plan, x, weights, expected, dtype):
            raise UnsupportedNetworkError(f"the kernel of {left[0]!r} disagrees with autograd")
    if plan.per_example:
        plan.loop = not _vmap_agrees(network, plan, x, weights, expected, dtype)
    return plan


def _check_outputs(network: Network, x: Tensor, dtype: torch.dtype) -> Tensor:
    outputs = network.outputs(x)
    if not bool(torch.isfinite(outputs).all()):
        raise NonFiniteError("the network's outputs or their gradients are not finite")
    bound = (1e-8 if dtype == torch.float64 else 1e-3) * float(outputs.abs().max())
    if float((network.outputs(x) - outputs).abs().max()) > bound:
        raise UnsupportedNetworkError(
            "the network answers differently each time it is asked: it is random even in eval mode"
        )
    alone = torch.cat([network.outputs(x[k : k + 1]) for k in range(2)])
    if float((alone - outputs[:2]).abs().max()) > bound:
        raise UnsupportedNetworkError("the network mixes the items of a batch: the outputs of an item depend on others")
    return outputs


def _wrong(
    network: Network, plan: Plan, x: Tensor, weights: Tensor, expected: list[dict[str, Tensor]], dtype: torch.dtype
) -> list[str]:
    """Parameters whose kernel over two items is not autograd's."""
    from ntk.linearize import capture

    totals = [sum(float(g.double().square().sum()) for g in gradients.values()) for gradients in expected]
    if not all(math.isfinite(total) for total in totals):
        raise NonFiniteError("the network's outputs or their gradients are not finite")
    bounds = (1e-9, 1e-7) if dtype == torch.float64 else (1e-5, 2e-2)
    products = Products("float64", x.device)
    found = capture(network, replace(plan, per_example={}), x, weights)
    wrong: list[str] = []
    for part, parts in zip(plan.parts, found, strict=False):
        kernel = torch.zeros((len(x), len(x)), dtype=torch.float64, device=x.device)
        part.form.add(kernel, parts, parts, whole(len(x), len(x)), products)
        if not _close(kernel, part, expected, max(totals), bounds):
            wrong += part.parameters
    return wrong


def _close(
    kernel: Tensor, part: Part, expected: list[dict[str, Tensor]], total: float, bounds: tuple[float, float]
) -> bool:
    """Within a share of the whole kernel, or of the part's own."""
    for i, j in ((0, 0), (1, 1), (1, 0)):
        pairs = [(expected[i][name], expected[j][name]) for name in part.parameters]
        right = sum(float((a.double() * b.double()).sum()) for a, b in pairs)
        norms = [sum(float(e[name].double().square().sum()) for name in part.parameters) for e in expected]
        if abs(float(kernel[i, j]) - right) > bounds[0] * total + bounds[1] * max(norms):
            return False
    return True


def _vmap_agrees(
    network: Network, plan: Plan, x: Tensor, weights: Tensor, expected: list[dict[str, Tensor]], dtype: torch.dtype
) -> bool:
    names = list(plan.per_example)
    # A scripted module keeps the stand-ins that vmap puts in its parameters' place.
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.module.modules()):
        return False
    try:
        rows = network.per_example(names, x[:2], weights, loop=False)
    except Exception:  # whatever a module does that vmap cannot follow, one by one it can be done
        return False
    right = torch.stack([torch.cat([gradients[name].flatten() for name in names]) for gradients in expected])
    bound = 1e-8 if dtype == torch.float64 else 1e-3
    return bool((rows - right).norm() <= bound * right.norm())
