"""How far the live kernel model drifts from a refit, label by label: factor, residuals, outputs, posterior covariance.

    python -m benchmarks.error_growth

A window of random items under the kernel of an infinitely wide ReLU network, which costs next to nothing; labels are
appended one at a time. Two runs: labels only, then, over fewer items, with one step in ten a correction and one in ten
a withdrawal, which rebuilds rows and costs more than all else. The covariance is kept in float32, with and without
the rule that mends it, and in float64.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from ntk.infinite import relu_ntk
from ntk.posterior import Posterior

Tensor = torch.Tensor
POINTS = (10, 100, 500, 1000, 2000, 5000)
CLASSES = 5
console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Setting:
    """One row of the comparison."""

    dtype: torch.dtype
    ruled: bool
    mixed: bool

    @property
    def name(self) -> str:
        """In words."""
        return (
            f"{str(self.dtype).removeprefix('torch.')}, {'with' if self.ruled else 'without'} mending, "
            f"{'labels, corrections, withdrawals' if self.mixed else 'labels only'}"
        )


class Run:
    """One live model, fed by the same random steps as all others."""

    def __init__(self, gram: Tensor, outputs: Tensor, ridge: float, setting: Setting) -> None:
        self.setting = setting
        self.posterior = Posterior(
            gram.to(setting.dtype, copy=True),
            outputs,
            ridge,
            labeled=torch.empty(0, dtype=torch.long),
            labels=torch.empty(0, dtype=torch.long),
            candidates=torch.arange(len(gram)),
            drift_bound=1e-3 if setting.ruled else float("inf"),
        )
        self.outputs = outputs
        self.generator = torch.Generator().manual_seed(1)

    def draw(self, size: int) -> int:
        """A random number below `size`."""
        return int(torch.randint(size, (1,), generator=self.generator))

    def step(self) -> None:
        """A label on a random candidate; in mixed runs sometimes a correction or a withdrawal before it."""
        model = self.posterior
        kind = self.draw(10) if self.setting.mixed and model.n > 1 else 9
        if kind == 0:
            model.relabel(int(model.labeled[self.draw(model.n)]), self.draw(CLASSES))
        elif kind == 1:
            # One of the latest: a withdrawal rebuilds all rows behind it.
            index = int(model.labeled[model.n - 1 - self.draw(min(model.n, 50))])
            model.withdraw(index)
            model.add_candidates([index])
        candidates = model.candidates.sort().values
        model.label(int(candidates[self.draw(model.m)]), self.draw(CLASSES))

    def errors(self) -> dict[str, float]:
        """Relative errors against everything computed from scratch in float64."""
        model = self.posterior
        gram, labeled, at = model.gram.double(), model.labeled, model.candidates
        A = gram[labeled][:, labeled] + model.ridge * torch.eye(model.n, dtype=torch.float64)
        lower = torch.linalg.cholesky(A)
        targets = torch.nn.functional.one_hot(model.labels, CLASSES).double()
        alpha = torch.cholesky_solve(targets - self.outputs[labeled], lower)
        outputs = self.outputs[at] + gram[at][:, labeled] @ alpha
        half = torch.linalg.solve_triangular(lower, gram[labeled][:, at], upper=False)
        exact = gram[at][:, at] - half.mT @ half
        u = (exact.diagonal() + model.ridge).sqrt()
        found = model.factor.dense()
        difference = model.covariance.double() - exact
        return {
            "factor": _relative(found @ found.mT, A),
            "alpha": _relative(model.alpha, alpha),
            "outputs": _relative(model.candidate_outputs, outputs),
            "covariance": float(difference.norm() / exact.norm()),
            "covariance_worst": float((difference.abs_() / u[:, None] / u).max()),
            "bound": model.drift,
            "mended": model.mends,
            "refreshed": model.refreshes,
        }


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def measure(items: int, labels: int, features: int, ridge: float, setting: Setting) -> list[dict[str, float]]:
    """The errors at every point up to `labels`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((items, features), generator=generator, dtype=torch.float64)
    gram = relu_ntk(x, x, 2)
    outputs = 0.1 * torch.randn((items, CLASSES), generator=generator, dtype=torch.float64)
    run = Run(gram, outputs, ridge * float(gram.diagonal().mean()), setting)
    del gram
    rows, started = [], time.perf_counter()
    for count in range(1, labels + 1):
        run.step()
        if count in POINTS or count == labels:
            rows.append({"steps": count, "labels": run.posterior.n, **run.errors()})
            console.print(_line(setting, rows[-1], time.perf_counter() - started))
    return rows


def _line(setting: Setting, row: dict[str, float], seconds: float) -> str:
    shown = ", ".join(f"{name} {row[name]:.1e}" for name in ("factor", "alpha", "outputs", "covariance"))
    return (
        f"{setting.name}: {row['steps']:.0f} steps, {shown}, worst {row['covariance_worst']:.1e} (bound "
        f"{row['bound']:.1e}), mended {row['mended']:.0f}, refreshed {row['refreshed']:.0f}, {seconds:.0f} s"
    )


def main() -> None:
    """Measure, print, and write the figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--labels", type=int, default=5000)
    parser.add_argument("--mixed-items", type=int, default=2000, help="of the run with corrections and withdrawals")
    parser.add_argument("--mixed-labels", type=int, default=1000)
    parser.add_argument("--features", type=int, default=4)
    parser.add_argument("--ridge", type=float, default=1e-4, help="relative to the mean diagonal")
    parser.add_argument("--out", help="write the figures here, as JSON")
    options = parser.parse_args()
    found = {}
    for mixed in (False, True):
        items, labels = (options.mixed_items, options.mixed_labels) if mixed else (options.items, options.labels)
        # In float64 there is nothing to mend: both would be the same run.
        for dtype, ruled in ((torch.float32, True), (torch.float32, False), (torch.float64, True)):
            setting = Setting(dtype, ruled, mixed)
            found[setting.name] = measure(items, labels, options.features, options.ridge, setting)
    if options.out:
        Path(options.out).write_text(json.dumps({"options": vars(options), "runs": found}, indent=1) + "\n")
    worst = max(row["covariance_worst"] for name, rows in found.items() if ", with mending" in name for row in rows)
    console.print(json.dumps({"worst_with_mending": worst, "bound": 1e-3}))


if __name__ == "__main__":
    main()
