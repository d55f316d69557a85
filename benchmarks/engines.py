"""One engine, one network, one process: `python -m benchmarks.engines --engine E --network mlp --items 1000`.

Every engine computes the same float32 matrix, the pseudo-NTK over the items. Needs torch and the engine's package only.
"""

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from benchmarks.networks import problem
from ntk.kernels import KernelEngine
from ntk.memory import keep_freed_memory

Tensor = torch.Tensor
ITEMS_CHECKED = 12


def lookahead(network: nn.Module, x: Tensor, precision: str, memory: int) -> Callable[[], Tensor]:
    """This project's."""
    engine = KernelEngine(network, precision=precision, memory_bytes=memory)  # type: ignore[arg-type]
    return lambda: engine.gram(x)


def _per_example(network: nn.Module, x: Tensor, chunk: int) -> Callable[[Tensor], dict[str, Tensor]]:
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def scalar(values: Any, item: Tensor) -> Tensor:
        outputs: Tensor = functional_call(network, values, (item[None],))[0]
        return outputs.sum() / math.sqrt(len(outputs))

    found: Callable[..., dict[str, Tensor]] = vmap(grad(scalar), in_dims=(None, 0), chunk_size=chunk)
    return lambda items: found(parameters, items)


def torch_func(network: nn.Module, x: Tensor, *, joined: bool) -> Callable[[], Tensor]:
    """torch.func: per-example gradients, `joined` to rows for one product or contracted parameter by parameter.

    In tiles where the gradients of all items do not fit.
    """
    gradients = _per_example(network, x, 16)
    large = sum(p.numel() for p in network.parameters()) > 10**6
    tile = len(x) if not large else 128 if joined else 64

    def rows(start: int) -> list[Tensor]:
        found = [each.flatten(1) for each in gradients(x[start : start + tile]).values()]
        return [torch.cat(found, dim=1)] if joined else found

    def gram() -> Tensor:
        out = torch.empty(len(x), len(x))
        for i in range(0, len(x), tile):
            mine = rows(i)
            for j in range(0, i + 1, tile):
                its = mine if i == j else rows(j)
                block = torch.stack([a @ b.mT for a, b in zip(mine, its, strict=True)]).sum(dim=0)
                out[i : i + tile, j : j + tile] = block
                out[j : j + tile, i : i + tile] = block.mT
        return out

    return gram


def neural_tangents(network: nn.Module, x: Tensor, implementation: int) -> Callable[[], Tensor]:
    """JAX's neural-tangents on the same perceptron; the sum over outputs is in the function, so no trace is taken."""
    import jax
    import jax.numpy as jnp
    import neural_tangents as nt

    layers = [layer for layer in network if isinstance(layer, nn.Linear)]  # type: ignore[attr-defined]
    parameters = [(jnp.array(l.weight.detach().numpy()), jnp.array(l.bias.detach().numpy())) for l in layers]  # noqa: E741

    def scalar(values: Any, items: Any) -> Any:
        for k, (weight, bias) in enumerate(values):
            items = items @ weight.T + bias
            items = jax.nn.relu(items) if k + 1 < len(values) else items
        return items.sum(axis=1, keepdims=True) / math.sqrt(items.shape[1])

    kernel = nt.empirical_ntk_fn(scalar, trace_axes=(), vmap_axes=0, implementation=implementation)
    compiled = jax.jit(lambda items: kernel(items, None, parameters))
    items = jnp.array(x.numpy())
    return lambda: torch.from_numpy(__import__("numpy").array(compiled(items).block_until_ready())).squeeze((2, 3))


def bmdal(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """bmdal_reg's gradient kernel: linear layers alone."""
    from bmdal_reg.bmdal.feature_data import TensorFeatureData
    from bmdal_reg.bmdal.layer_features import LinearGradientComputation, create_grad_feature_map

    layers = [LinearGradientComputation(layer) for layer in network if isinstance(layer, nn.Linear)]  # type: ignore[attr-defined]
    # It differentiates the plain sum of outputs: the same kernel but for the factor 1/C.
    features = create_grad_feature_map(network, layers)
    classes = network(x[:1]).shape[1]

    def gram() -> Tensor:
        feature_map, data = features.precompute(TensorFeatureData(x))
        kernel: Tensor = feature_map.get_kernel_matrix(data, data) / classes
        return kernel

    return gram


class Scalar(nn.Module):
    """The network with one output, Σ f/√C."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1)."""
        outputs: Tensor = self.network(x)
        return outputs.sum(dim=1, keepdim=True) / math.sqrt(outputs.shape[1])


def asdl(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """ASDL's direct form."""
    from asdl.kernel import empirical_class_wise_direct_ntk

    scalar = Scalar(network)
    return lambda: empirical_class_wise_direct_ntk(scalar, x)[:, :, 0].detach()


def backpack(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """BackPACK's per-example gradients, contracted parameter by parameter; plain sequences of layers only."""
    from backpack import backpack as computing
    from backpack import extend
    from backpack.extensions import BatchGrad

    model = extend(network)
    root = math.sqrt(network(x[:1]).shape[1])

    def gram() -> Tensor:
        model.zero_grad()
        with computing(BatchGrad()):
            (model(x).sum() / root).backward()
        rows = [parameter.grad_batch.flatten(1) for parameter in model.parameters()]
        return torch.stack([each @ each.mT for each in rows]).sum(dim=0)

    return gram


def make(name: str, network: nn.Module, x: Tensor, memory: int) -> Callable[[], Tensor]:
    """An engine by name."""
    family, _, variant = name.partition(":")
    if family == "lookahead":
        return lookahead(network, x, variant or "float32", memory)
    if family == "neural-tangents":
        return neural_tangents(network, x, int(variant or 3))
    plain: dict[str, Callable[[nn.Module, Tensor], Callable[[], Tensor]]] = {
        "torch.func": partial(torch_func, joined=True),
        "torch.func-layers": partial(torch_func, joined=False),
        "bmdal_reg": bmdal,
        "asdl": asdl,
        "backpack": backpack,
    }
    return plain[family](network, x)


def relative_error(network: nn.Module, x: Tensor, found: Tensor) -> float:
    """Largest error against float64 autograd on the first items, relative to √(K_ii K_jj)."""
    network = network.double()
    rows = []
    for item in x[:ITEMS_CHECKED].double():
        outputs = network(item[None])[0]
        gradients = torch.autograd.grad(outputs.sum() / math.sqrt(len(outputs)), list(network.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = torch.stack(rows) @ torch.stack(rows).mT
    scale = expected.diagonal().sqrt()
    part = found[:ITEMS_CHECKED, :ITEMS_CHECKED].double()
    return float(((part - expected).abs() / torch.outer(scale, scale)).max())


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--network", choices=["mlp", "resnet18"], required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, default=4 << 30)
    options = parser.parse_args()
    keep_freed_memory()  # for every engine alike
    torch.set_num_threads(2)
    network, x = problem(options.network, options.items)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    gram = make(options.engine, network, x, options.memory)
    found = gram()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        found = gram()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = {
        "engine": options.engine,
        "first": first,
        "seconds": sorted(seconds)[len(seconds) // 2] if seconds else first,
        "best": min(seconds, default=first),
        "memory": (peak - before) * 1024,
        "error": relative_error(network, x, found),
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
