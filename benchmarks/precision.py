"""What coarser products and random maps do to look-ahead: kernels and MLMOC scores against float64 throughout.

`python -m benchmarks.precision`: scikit-learn's digits, enlarged to 32x32 for ResNet-18; trained on 100 labels;
a window of 100 labeled items and 400 candidates.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from torch import nn
from torch.nn import functional

from benchmarks.networks import resnet18
from demo import digits
from ntk.acquisition.lookahead.change import mlmoc
from ntk.acquisition.lookahead.model import LookAhead
from ntk.features import ProjectedKernel
from ntk.kernels import KernelEngine
from ntk.memory import keep_freed_memory
from ntk.posterior import Posterior

Tensor = torch.Tensor
LABELED, CANDIDATES, RIDGE, TOP = 100, 400, 1e-4, 10
PRODUCTS = ["float64", "float32", "tf32", "bf16"]
DIMENSIONS = [1024, 4096, 16384]
console = Console(highlight=False, soft_wrap=True)


def trained(name: str, data: digits.Digits) -> tuple[nn.Module, Tensor]:
    """A network fitted to the labeled items, and the window."""
    x = torch.from_numpy(data.pool[: LABELED + CANDIDATES])
    if name == "mlp":
        return digits.train(data, list(range(LABELED)), 0), x
    torch.manual_seed(0)
    images = functional.interpolate(x.view(-1, 1, 8, 8), size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    network = resnet18().train()
    target = functional.one_hot(torch.from_numpy(data.pool_classes[:LABELED]), 10).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        functional.mse_loss(network(images[:LABELED]), target).backward()
        optimizer.step()
    return network.eval(), images.contiguous()


def scores(gram: Tensor, outputs: Tensor, labels: list[int], ridge: float) -> Tensor:
    """MLMOC of every candidate."""
    everyone = torch.arange(len(gram))
    posterior = Posterior(
        gram,
        outputs,
        ridge,
        labeled=everyone[:LABELED],
        labels=torch.tensor(labels),
        candidates=everyone[LABELED:],
    )
    return mlmoc(
        LookAhead.of(posterior.covariance, posterior.variance, posterior.candidate_outputs, None, posterior.column_l1)
    )


def compared(found: Tensor, exact: Tensor) -> dict[str, float]:
    """Scores against the exact ones."""
    best, top = exact.argsort(descending=True), found.argsort(descending=True)
    return {
        "largest relative error": float(((found - exact).abs() / exact).max()),
        "rank correlation": float(kendalltau(found.numpy(), exact.numpy()).statistic),
        "of the best ten": len(set(best[:TOP].tolist()) & set(top[:TOP].tolist())) / TOP,
    }


def kernel_error(found: Tensor, exact: Tensor) -> float:
    """Largest error of an entry relative to √(K_ii K_jj)."""
    scale = exact.diagonal().sqrt()
    return float(((found - exact).abs() / torch.outer(scale, scale)).max())


def compare(name: str) -> list[dict[str, Any]]:
    """One network, all precisions and maps."""
    data = digits.split(0, 20)
    network, x = trained(name, data)
    labels = data.pool_classes[:LABELED].tolist()
    reference = KernelEngine(network, dtype=torch.float64, precision="float64", memory_bytes=4 << 30)
    exact, outputs = reference.gram(x.double()), reference.outputs(x.double())
    ridge = RIDGE * float(exact.diagonal().mean())
    best = scores(exact, outputs, labels, ridge)
    table = Table("network, products", "kernel error", "score error", "rank correlation", "of the best ten", title=name)
    rows = []
    kernels: dict[str, Any] = {
        f"float32, {precision}": KernelEngine(network, precision=precision, memory_bytes=4 << 30)  # type: ignore[arg-type]
        for precision in PRODUCTS
    }
    engine = KernelEngine(network, memory_bytes=4 << 30)
    kernels |= {f"float32, {size} dimensions": ProjectedKernel(engine, size) for size in DIMENSIONS}
    for label, kernel in kernels.items():
        gram = kernel.gram(x)
        row = {"kernel error": kernel_error(gram, exact), **compared(scores(gram, outputs, labels, ridge), best)}
        rows.append({"network": name, "variant": label, **row})
        table.add_row(label, *(f"{value:.1e}" if "error" in key else f"{value:.4f}" for key, value in row.items()))
    console.print(table)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    rows = [row for name in ("mlp", "resnet18") for row in compare(name)]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
