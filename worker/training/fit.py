"""Fit a network to its labeled items."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from ntk.kernel import Items, moved, tile_plan
from worker.training.batches import batch_norms, batch_ranges, dtype_of, shuffled_rows
from worker.training.fixmatch import FixMatch
from worker.training.loss_prediction import LossPredictor, Taps, loss_predictor, ranking_loss
from worker.training.options import TrainOptions

Tensor = torch.Tensor
OnStep = Callable[[int, int], None]
STEPS_MIN = 200
# The part of the steps in which the predicted losses still shape the network [LL4AL].
_JOINT = 0.6
_BATCH = 256


@dataclass(frozen=True)
class FitResult:
    """A fitted network, in eval mode."""

    module: nn.Module
    loss: float  # mean over the labeled items, of the network as it is now; 0 without any
    steps: int
    loss_predictor: LossPredictor | None


def unwatched(done: int, total: int) -> None:
    """The callback of those who do not watch; one that raises cancels."""


def fit(
    module: nn.Module,
    x: Items,
    y: Tensor,
    options: TrainOptions,
    *,
    classes: int,
    unlabeled: Items | None = None,
    device: torch.device | None = None,
    on_step: OnStep = unwatched,
) -> FitResult:
    """Fit `module`, in place, to items x (n, ...) of classes y (n,): AdamW with a one-cycle learning rate.

    Items x are held on the device as a whole; `unlabeled` items, read by fixmatch only, come batch by batch. The seed
    decides everything random, dropout included: on a CPU the same seed gives the same weights. `on_step` is told the
    steps done and the steps in all after each; where it raises, the network is left with the weights it has.

    Without labels nothing is done, and there is no loss predictor. A single item cannot be normalised by its batch:
    batch norm then keeps its statistics.

    Raises ValueError for labels that do not fit the items or the classes, for outputs other than (N, C), for a network
    with nothing to train, and for fixmatch without labels or without `unlabeled`; FloatingPointError when the loss is
    not finite.
    """
    _check(x, y, options, classes, unlabeled)
    device = device or torch.device("cpu")
    module.to(device)
    if len(x) == 0:
        return FitResult(module.eval(), 0.0, 0, None)
    try:
        with _seeded(options.seed, device), torch.enable_grad():
            items, labels = moved(x, device, dtype_of(module)), y.to(device, torch.long)
            fitting = _Fitting(module, items, labels, options, classes, unlabeled)
            steps = fitting.run(on_step)
    finally:
        module.eval()
    return FitResult(module, fitting.final_loss(), steps, fitting.predictor)


def item_losses(outputs: Tensor, y: Tensor, *, squared: bool) -> Tensor:
    """Losses (N,) of outputs (N, C) for classes y (N,): Σ_c (output − one-hot)², or the cross-entropy in nats."""
    if squared:
        return (outputs - functional.one_hot(y, outputs.shape[1])).square().sum(dim=1)
    return functional.cross_entropy(outputs, y, reduction="none")


class _Fitting:
    """One run."""

    def __init__(
        self, module: nn.Module, x: Tensor, y: Tensor, options: TrainOptions, classes: int, unlabeled: Items | None
    ) -> None:
        self._module = module
        self._x = x
        self._y = y
        self._options = options
        self._classes = classes
        self._generator = torch.Generator().manual_seed(options.seed)
        self._fixmatch: FixMatch | None = None
        if options.loss == "fixmatch" and unlabeled is not None:
            share = torch.bincount(y, minlength=classes).to(x.device, dtype_of(module)) / len(y)
            self._fixmatch = FixMatch(unlabeled, options, share, self._generator)
        self.predictor = loss_predictor(module, x[:1], self._generator) if options.loss_prediction else None

    def run(self, on_step: OnStep) -> int:
        """All steps; returns how many."""
        options = self._options
        norms = batch_norms(self._module)
        ranges = batch_ranges(len(self._y), options.batch_size, least=2 if norms else 1)
        total = options.steps or max(STEPS_MIN, options.epochs * len(ranges))
        self._module.train()
        if len(self._y) == 1 and (self._fixmatch is None or self._fixmatch.is_idle):
            for layer in norms:
                layer.eval()
        optimizer = torch.optim.AdamW(self._parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        schedule = OneCycleLR(optimizer, max_lr=options.learning_rate, total_steps=total)
        with Taps(self._module) if self.predictor else nullcontext([]) as tapped:
            for done, rows in enumerate(islice(shuffled_rows(ranges, self._generator), total), start=1):
                loss = self._loss(rows.to(self._y.device), tapped, joint=done <= _JOINT * total)
                self._check_finite(loss, f"at step {done} of {total}")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                on_step(done, total)
        return total

    def final_loss(self) -> float:
        """The mean loss of the labeled items. Raises FloatingPointError."""
        total = torch.zeros((), dtype=torch.float64, device=self._y.device)
        with torch.no_grad():
            for start, stop in tile_plan(len(self._y), _BATCH):
                outputs = self._outputs(self._x[start:stop].clone())
                total += self._item_losses(outputs, self._y[start:stop]).double().sum()
        self._check_finite(total, "after the last step")
        return float(total) / len(self._y)

    def _loss(self, rows: Tensor, tapped: list[Tensor], *, joint: bool) -> Tensor:
        """The objective of a step over labeled items `rows` (B,)."""
        batch, y = self._x[rows], self._y[rows]
        outputs = self._outputs(batch if self._fixmatch is None else self._fixmatch.views(batch))
        losses = self._item_losses(outputs[: len(y)], y)
        loss = losses.mean()
        if self._fixmatch is not None:
            loss = loss + self._fixmatch.loss(outputs[len(y) :])
        if self.predictor is not None:
            features = [each[: len(y)] if joint else each[: len(y)].detach() for each in tapped]
            loss = loss + self._options.loss_prediction_weight * ranking_loss(self.predictor(features), losses)
        return loss

    def _outputs(self, batch: Tensor) -> Tensor:
        outputs: Tensor = self._module(batch)
        if outputs.shape != (len(batch), self._classes):
            raise ValueError(
                f"the network returns shape {tuple(outputs.shape)} for {len(batch)} items: it must return "
                f"({len(batch)}, {self._classes})"
            )
        return outputs

    def _item_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        return item_losses(outputs, y, squared=self._options.loss == "squared")

    def _parameters(self) -> list[nn.Parameter]:
        trained = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("nothing can be trained: no parameter of the network requires a gradient")
        return trained + list(self.predictor.parameters() if self.predictor else ())

    def _check_finite(self, loss: Tensor, when: str) -> None:
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(
                f"the loss is {float(loss.detach())} {when}: use a learning rate below "
                f"{self._options.learning_rate}, or standardise the items"
            )


def _check(x: Items, y: Tensor, options: TrainOptions, classes: int, unlabeled: Items | None) -> None:
    if y.shape != (len(x),) or (len(y) > 0 and y.is_floating_point()):
        raise ValueError(
            f"labels have shape {tuple(y.shape)} and type {y.dtype}: they must be integers, one for each of "
            f"{len(x)} items"
        )
    if len(y) > 0 and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"labels go from {int(y.min())} to {int(y.max())}: they must lie in 0 to {classes - 1}")
    if options.loss == "fixmatch":
        if len(x) == 0:
            raise ValueError("fixmatch needs at least one label")
        if unlabeled is None:
            raise ValueError("fixmatch needs the unlabeled items")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from torch's own generator: seed it here, and give it back as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
