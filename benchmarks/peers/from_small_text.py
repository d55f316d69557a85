"""Strategies of small-text. Imported in the peers' environment only; BADGE needs torch there.

The library speaks of texts and classifiers; its strategies ask only for embeddings and probabilities of rows.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from unittest import mock

import numpy as np
from small_text import query_strategies as library  # type: ignore[import-not-found]

from benchmarks.peers.problem import Floats, Head, Integers, Problem, recover_head

try:
    from small_text.integrations.pytorch.query_strategies import (  # type: ignore[import-not-found]
        strategies as with_torch,
    )
except ImportError:
    with_torch = None

Strategy = Callable[[Problem], Any]
DROPOUT = 0.5


class Rows:
    """A data set that is row numbers."""

    def __init__(self, numbers: Integers) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: Any) -> "Rows":
        return Rows(self.numbers[at])


class Given:
    """The classifier: what the network said of each row."""

    def __init__(self, problem: Problem, features: Floats) -> None:
        self._problem = problem
        self._features = features
        self._head: Head | None = None
        self.num_classes = problem.classes

    def predict_proba(self, rows: Rows, dropout_sampling: int = 1) -> Floats:
        """(K, C); with dropout_sampling = T above 1, (K, T, C) after dropout of the embeddings.

        The dropped embeddings go through the network's last layer as recovered from its probabilities.
        """
        if dropout_sampling == 1:
            return self._problem.probabilities[rows.numbers]
        head = self._head = self._head or recover_head(self._problem)
        if head.caution:
            warnings.warn(head.caution, stacklevel=2)
        generator = np.random.default_rng(self._problem.seed)
        features = self._features[rows.numbers]
        kept = generator.random((dropout_sampling, *features.shape)) >= DROPOUT
        logits = head.logits(features * kept / (1 - DROPOUT))
        odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return cast("Floats", (odds / odds.sum(axis=-1, keepdims=True)).swapaxes(0, 1))

    def embed(self, rows: Rows, return_proba: bool = False, pbar: Any = None) -> Any:
        """(K, D), and with them (K, C) if asked for."""
        features = self._features[rows.numbers]
        return (features, self.predict_proba(rows)) if return_proba else features


def _ask(make: Callable[[Problem], Any], features: str, problem: Problem) -> Any:
    # Its random choices are numpy's global ones.
    np.random.seed(problem.seed % 2**32)
    rows = np.arange(len(problem.embeddings))
    model = Given(problem, getattr(problem, features))
    unlabeled, labeled = rows[problem.n :], rows[: problem.n]
    return make(problem).query(model, Rows(rows), unlabeled, labeled, problem.labels, n=problem.count)


def _badge(problem: Problem) -> Any:
    # It seeds k-means++ from the system, so a seeded one is put in its place.
    original = with_torch.init_kmeans_plusplus_safe

    def seeded(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, "random_state": np.random.RandomState(problem.seed % 2**32)})

    with mock.patch.object(with_torch, "init_kmeans_plusplus_safe", seeded):
        return _ask(lambda _: with_torch.BADGE(problem.classes), "embeddings", problem)


def _plain(make: Callable[[], Any]) -> Callable[[Problem], Any]:
    return lambda _: make()


_FEATURES: dict[str, Callable[[Problem], Any]] = {
    "greedy_coreset": _plain(library.GreedyCoreset),
    "lightweight_coreset": _plain(library.LightweightCoreset),
    "embedding_kmeans": _plain(library.EmbeddingKMeans),
}

STRATEGIES: dict[str, Strategy] = {
    "random": partial(_ask, _plain(library.RandomSampling), "embeddings"),
    "prediction_entropy": partial(_ask, _plain(library.PredictionEntropy), "embeddings"),
    "breaking_ties": partial(_ask, _plain(library.BreakingTies), "embeddings"),
    "least_confidence": partial(_ask, _plain(library.LeastConfidence), "embeddings"),
    "bald": partial(_ask, _plain(library.BALD), "embeddings"),
    "contrastive_active_learning": partial(
        _ask, _plain(partial(library.ContrastiveActiveLearning, pbar=None)), "embeddings"
    ),
    **{name: partial(_ask, make, "embeddings") for name, make in _FEATURES.items()},
    **{f"{name}@inputs": partial(_ask, make, "inputs") for name, make in _FEATURES.items()},
}
if with_torch is not None:
    STRATEGIES["badge"] = _badge
