"""Plans are not believed: on a few items every part is compared with autograd, and what differs goes per example."""

import math
from dataclasses import dataclass, replace

import torch

from ntk.capture.network import Network
from ntk.capture.parts import Part
from ntk.capture.plan import Plan, make_plan, per_example_plan
from ntk.errors import ChangingPassError, NonFiniteError, UnsupportedNetworkError
from ntk.products import Products, whole

Tensor = torch.Tensor


def verified(network: Network, x: Tensor, dtype: torch.dtype) -> Plan:
    """A plan for the network that agrees with autograd on x (a few items), and on x with noise.

    Raises UnsupportedNetworkError where there is no kernel of single items: passes that are random, or that mix the
    items of a batch. Raises NonFiniteError.
    """
    outputs = _check_outputs(network, x, dtype)
    # Different weights for different outputs: what is right for their plain sum alone would not do.
    weights = torch.linspace(1.0, 0.5, outputs.shape[1], dtype=dtype, device=x.device)
    samples = [_Sample(x, weights, _gradients(network, x, weights))]
    disturbed = _disturbed(x)
    try:
        expected = _gradients(network, disturbed, weights)
        if bool(torch.isfinite(network.outputs(disturbed)).all()):
            samples.append(_Sample(disturbed, weights, expected))
    except (RuntimeError, IndexError, ValueError, UnsupportedNetworkError):
        pass  # not every network takes every number
    try:
        return _agreeing(network, samples, dtype)
    except ChangingPassError:
        return per_example_plan(network, "the forward pass depends on the data")
    except RuntimeError as error:
        # Recomputed activations, for one, do not expect that a pass is watched.
        return per_example_plan(network, f"the pass cannot be watched: {str(error).splitlines()[0][:100]}")


@dataclass(frozen=True)
class _Sample:
    """Items and what autograd says of the first two of them."""

    x: Tensor
    weights: Tensor
    expected: list[dict[str, Tensor]]


def _gradients(network: Network, x: Tensor, weights: Tensor) -> list[dict[str, Tensor]]:
    return [network.gradients(x[k : k + 1], weights) for k in range(2)]


def _disturbed(x: Tensor) -> Tensor:
    """Items that differ everywhere: the first items of a pool may be blank, or alike, and show nothing."""
    generator = torch.Generator().manual_seed(0)
    if x.is_floating_point():
        spread = float(x.double().std()) if x.numel() > 1 else 0.0
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return x + (noise * (spread or 1.0)).to(x)
    # Other tokens than those that were seen may not exist.
    seen = x.flatten()
    return seen[torch.randint(len(seen), x.shape, generator=generator).to(x.device)]


def _agreeing(network: Network, samples: list[_Sample], dtype: torch.dtype) -> Plan:
    x = samples[-1].x[:3]
    plan = make_plan(network, x)
    wrong = _wrong(network, plan, samples, dtype)
    # Merged axes may hold the items innermost.
    turned = frozenset(wrong)
    if wrong:
        plan = make_plan(network, x, turned=turned)
        wrong = _wrong(network, plan, samples, dtype)
    expected = [gradients for sample in samples for gradients in sample.expected]
    hidden = [name for name in plan.unused if any(bool(gradients[name].any()) for gradients in expected)]
    if wrong or hidden:
        reasons = dict.fromkeys(wrong, "its rule disagrees with autograd")
        reasons |= dict.fromkeys(hidden, "used where no function shows it")
        plan = make_plan(network, x, turned=turned, refused=reasons)
        if _wrong(network, plan, samples, dtype):
            return per_example_plan(network, "rules disagree with autograd")
    if plan.per_example:
        plan.loop = not _vmap_agrees(network, plan, samples[0], dtype)
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


def _wrong(network: Network, plan: Plan, samples: list[_Sample], dtype: torch.dtype) -> list[str]:
    """Parameters whose kernel over two items is not autograd's."""
    from ntk.linearize import capture

    bounds = (1e-9, 1e-7) if dtype == torch.float64 else (1e-5, 2e-2)
    wrong: set[str] = set()
    for sample in samples:
        x, expected = sample.x, sample.expected
        totals = [sum(float(g.double().square().sum()) for g in gradients.values()) for gradients in expected]
        if not all(math.isfinite(total) for total in totals):
            raise NonFiniteError("the network's outputs or their gradients are not finite")
        products = Products("float64", x.device)
        found = capture(network, replace(plan, per_example={}), x, sample.weights)
        for part, parts in zip(plan.parts, found, strict=False):
            kernel = torch.zeros((len(x), len(x)), dtype=torch.float64, device=x.device)
            part.form.add(kernel, parts, parts, whole(len(x), len(x)), products)
            if not _close(kernel, part, expected, max(totals), bounds):
                wrong.update(part.parameters)
    return sorted(wrong)


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


def _vmap_agrees(network: Network, plan: Plan, sample: _Sample, dtype: torch.dtype) -> bool:
    names = list(plan.per_example)
    # A scripted module keeps the stand-ins that vmap puts in its parameters' place.
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.module.modules()):
        return False
    try:
        rows = network.per_example(names, sample.x[:2], sample.weights, loop=False)
    except Exception:  # whatever a module does that vmap cannot follow, one by one it can be done
        return False
    right = torch.stack([torch.cat([gradients[name].flatten() for name in names]) for gradients in sample.expected])
    bound = 1e-8 if dtype == torch.float64 else 1e-3
    return bool((rows - right).norm() <= bound * right.norm())
