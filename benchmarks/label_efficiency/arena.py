"""One problem and seed: networks trained on the labels so far, and the choices of a strategy from round to round."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from api_schemas.strategies import checked_options
from benchmarks.curves import Run
from benchmarks.data.base import split
from benchmarks.label_efficiency.settings import Entry, Setting
from benchmarks.peers.client import Peers
from ntk.acquisition.uncertainty import probabilities
from ntk.kernels import KernelEngine
from ntk.penultimate import Penultimate
from ntk.posterior import Posterior
from store.architectures import architecture
from store.auto import Situation
from store.auto import choose as chosen_by_auto
from worker.networks import module_of
from worker.strategies.choose import choose
from worker.strategies.window import Window
from worker.training.fit import FitResult, fit
from worker.training.loss_prediction import LossPredictor
from worker.training.standardise import standardisation, standardised

Tensor = torch.Tensor
KERNEL_BYTES = 1 << 30
# Keeps the random numbers of rounds apart from one another's.
_STRIDE = 1000


@dataclass
class Round:
    """Pool indices of a round, and the network they are chosen with."""

    labeled: list[int]
    candidates: list[int]
    fitted: FitResult
    number: int


class Arena:
    """A problem with its seed; every strategy meets the same split, first labels, windows and initial weights."""

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting = setting
        self.seed = seed
        dataset = setting.load()
        parts = split(dataset, seed, setting.pool, setting.held_out)
        self.classes = len(dataset.classes)
        self.x, self.y = torch.from_numpy(parts.pool_x), torch.from_numpy(parts.pool_y)
        self._held_out_x, self._held_out_y = torch.from_numpy(parts.held_out_x), torch.from_numpy(parts.held_out_y)
        self._standardisation = standardisation(self.x)

    def run(self, entry: Entry, peers: Peers | None) -> Run:
        """The accuracies at the setting's counts. Raises what the strategy raises."""
        labeled = self._first_labels()
        accuracies: list[float] = []
        counts, seconds, picked = self.setting.counts, 0.0, 0
        memory: dict[str, Any] | None = None
        for number, count in enumerate(counts):
            fitted = self._train(labeled, entry.loss_prediction)
            if count > 0:
                accuracies.append(self._accuracy(fitted.module))
            if number + 1 == len(counts):
                break
            current = Round(labeled, self._window(labeled, number), fitted, number)
            wanted = counts[number + 1] - count
            if entry.peer:
                chosen, spent = self._by_peer(entry, current, wanted, peers)
            elif entry.sequential:
                chosen, spent = self._label_by_label(entry, current, wanted)
            else:
                chosen, spent, memory = self._in_batch(entry, current, wanted, memory)
            labeled, seconds, picked = labeled + chosen, seconds + spent, picked + len(chosen)
        measured = [count for count in counts if count > 0]
        setting = self.setting
        return Run(setting.dataset, setting.model, entry.name, self.seed, measured, accuracies, seconds / picked)

    def _first_labels(self) -> list[int]:
        order = np.random.default_rng(self.seed).permutation(len(self.y))
        return [int(item) for item in order[: self.setting.counts[0]]]

    def _window(self, labeled: list[int], number: int) -> list[int]:
        """Candidates of a round: the first unlabeled items of an order that all strategies share."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.y))
        known = set(labeled)
        return [int(item) for item in order if int(item) not in known][: self.setting.window]

    def _train(self, labeled: list[int], loss_prediction: bool) -> FitResult:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            fitted = architecture(self.setting.architecture, self.setting.options).fitted(
                tuple(self.x.shape[1:]), self.classes
            )
            module = standardised(module_of(fitted), *(each.float() for each in self._standardisation))
        options = replace(self.setting.training, seed=self.seed, loss_prediction=loss_prediction)
        unlabeled = None
        if options.loss == "fixmatch":
            if not labeled:
                options = replace(options, loss="cross_entropy")
            others = torch.ones(len(self.y), dtype=torch.bool)
            others[labeled] = False
            unlabeled = self.x[others]
        return fit(module, self.x[labeled], self.y[labeled], options, classes=self.classes, unlabeled=unlabeled)

    def _accuracy(self, module: nn.Module) -> float:
        with torch.no_grad():
            return float((module(self._held_out_x).argmax(dim=1) == self._held_out_y).double().mean())

    def _model(self, current: Round, ridge: float) -> Window:
        """The kernel model of a round: what the service would hold after training and preparing."""
        items = current.labeled + current.candidates
        x = self.x[items]
        engine = KernelEngine(current.fitted.module, memory_bytes=KERNEL_BYTES)
        gram, outputs = engine.gram(x).double(), engine.outputs(x).double()
        n = len(current.labeled)
        posterior = Posterior(
            gram,
            outputs,
            ridge * float(gram.diagonal().mean()),
            labeled=torch.arange(n),
            labels=self.y[current.labeled],
            candidates=torch.arange(n, len(items)),
        )

        def predictor(_: nn.Module) -> LossPredictor | None:
            return current.fitted.loss_predictor

        return Window(
            posterior=posterior,
            network_outputs=outputs,
            inputs_of=lambda indices: x[indices],
            order=torch.tensor(items),
            open_module=lambda: current.fitted.module,
            open_loss_predictor=predictor,
            trained_here=True,
        )

    def _in_batch(
        self, entry: Entry, current: Round, count: int, memory: dict[str, Any] | None
    ) -> tuple[list[int], float, dict[str, Any] | None]:
        window = self._model(current, entry.ridge)
        start = time.perf_counter()
        picks = choose(
            window,
            *self._resolved(entry, window),
            count=count,
            seed=self._seed(current),
            eligible=torch.ones(window.posterior.m, dtype=torch.bool),
            memory=memory,
        ).picks
        seconds = time.perf_counter() - start
        return self._items(current, window.candidates[picks.indices].tolist()), seconds, picks.memory

    def _label_by_label(self, entry: Entry, current: Round, count: int) -> tuple[list[int], float]:
        """True labels stream into the kernel model; the network stays as it is until the round ends."""
        window = self._model(current, entry.ridge)
        chosen: list[int] = []
        start = time.perf_counter()
        for step in range(count):
            eligible = torch.ones(window.posterior.m, dtype=torch.bool)
            seed = self._seed(current) + step
            picks = choose(window, *self._resolved(entry, window), count=1, seed=seed, eligible=eligible).picks
            pick = int(window.candidates[picks.indices[0]])
            (item,) = self._items(current, [pick])
            window.posterior.label(pick, int(self.y[item]))
            chosen.append(item)
        return chosen, time.perf_counter() - start

    def _resolved(self, entry: Entry, window: Window) -> tuple[str, dict[str, Any]]:
        """(strategy, its complete options), for `auto` what the service would choose now."""
        name, options = entry.strategy, entry.options
        if name == "auto":
            chosen = chosen_by_auto(Situation(window.posterior.n, self.classes, window.posterior.m, trained_here=True))
            name, options = chosen.strategy, chosen.options
        return name, checked_options(name, options)

    def _by_peer(self, entry: Entry, current: Round, count: int, peers: Peers | None) -> tuple[list[int], float]:
        """What the peer sees is the network's: its last layer's input and its calibrated probabilities."""
        if peers is None:
            raise ValueError(f"{entry.name} needs the peers' process")
        items = current.labeled + current.candidates
        x = self.x[items]
        read = Penultimate(current.fitted.module)
        n = len(current.labeled)
        # As sharp as our own strategies see it.
        temperature = self._model(current, entry.ridge).temperature("auto")
        choice = peers.ask(
            entry.strategy,
            embeddings=read(x).numpy(),
            probabilities=probabilities(read.outputs(x).double() / temperature).numpy(),
            inputs=x.flatten(1).numpy(),
            labeled=np.arange(n),
            labels=self.y[current.labeled].numpy(),
            unlabeled=np.arange(n, len(items)),
            count=count,
            seed=self._seed(current),
        )
        return self._items(current, choice.chosen), choice.seconds

    def _items(self, current: Round, window_indices: list[int]) -> list[int]:
        both = current.labeled + current.candidates
        return [both[index] for index in window_indices]

    def _seed(self, current: Round) -> int:
        return _STRIDE * (self.seed * len(self.setting.counts) + current.number)
