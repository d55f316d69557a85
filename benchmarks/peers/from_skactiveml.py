"""Strategies of scikit-activeml. Imported in the peers' environment only.

Where a strategy asks a classifier, it gets the network's own probabilities and embeddings. Where it must refit or
perturb one, that cannot be the network, so a classifier on its embeddings stands in, as said below.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from skactiveml import pool  # type: ignore[import-not-found]
from skactiveml.base import SkactivemlClassifier  # type: ignore[import-not-found]
from skactiveml.classifier import (  # type: ignore[import-not-found]
    MixtureModelClassifier,
    ParzenWindowClassifier,
    SklearnClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import BayesianGaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from benchmarks.peers.problem import Floats, Problem, recover_head

Strategy = Callable[[Problem], Any]
COMMITTEE = 10
EER_CANDIDATES = 100


class Given(SkactivemlClassifier):  # type: ignore[misc]
    """Answers for rows named by their index, X (K, 1), with the probabilities and embeddings it was given."""

    def __init__(
        self,
        known_probabilities: Floats,
        known_embeddings: Floats,
        classes: Any = None,
        missing_label: float = np.nan,
        cost_matrix: Any = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            classes=classes, missing_label=missing_label, cost_matrix=cost_matrix, random_state=random_state
        )
        self.known_probabilities = known_probabilities
        self.known_embeddings = known_embeddings

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Given":
        """Nothing to fit."""
        return self

    def predict_proba(self, X: Any, with_embeddings: bool = False) -> Any:
        """(K, C) probabilities, and with them (K, D) embeddings if asked for."""
        rows = np.asarray(X)[:, 0].astype(np.int64)
        probabilities = self.known_probabilities[rows]
        return (probabilities, self.known_embeddings[rows]) if with_embeddings else probabilities


class LastLayer(SkactivemlClassifier):  # type: ignore[misc]
    """Predicts from embeddings (K, D), disturbed ones too, by a linear layer."""

    def __init__(
        self,
        head: Any,
        classes: Any = None,
        missing_label: float = np.nan,
        cost_matrix: Any = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            classes=classes, missing_label=missing_label, cost_matrix=cost_matrix, random_state=random_state
        )
        self.head = head

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "LastLayer":
        """Nothing to fit."""
        return self

    def predict(self, X: Any) -> Any:
        """Classes (K,)."""
        return self.head.logits(np.asarray(X)).argmax(axis=1)


def _labels(problem: Problem) -> Floats:
    known = np.full(len(problem.embeddings), np.nan)
    known[: problem.n] = problem.labels
    return known


def _given(problem: Problem) -> Given:
    return Given(problem.probabilities, problem.embeddings, classes=list(range(problem.classes)))


def _ask(strategy: Any, X: Floats, problem: Problem, **arguments: Any) -> Any:
    return strategy.query(X, _labels(problem), batch_size=problem.count, **arguments)


def _with_given(make: Callable[..., Any], problem: Problem, argument: str = "clf") -> Any:
    rows = np.arange(len(problem.embeddings), dtype=np.float64)[:, None]
    arguments = {argument: _given(problem), f"fit_{argument}": False}
    return _ask(make(random_state=problem.seed), rows, problem, **arguments)


def _clue(problem: Problem) -> Any:
    # The library leaves its clusters unseeded unless told.
    options = {"predict_dict": {"with_embeddings": True}, "cluster_algo_dict": {"random_state": problem.seed}}
    return _with_given(partial(pool.Clue, **options), problem, argument="estimator")


def _features_only(make: Callable[[Problem], Any], features: str, unit: bool, problem: Problem) -> Any:
    X: Floats = getattr(problem, features)
    return _ask(make(problem), normalize(X) if unit else X, problem)


def _drop_query(problem: Problem) -> Any:
    """The network after dropout of its embeddings: its last layer, recovered from the probabilities."""
    head = recover_head(problem)
    if head.caution:
        warnings.warn(head.caution, stacklevel=2)
    strategy = pool.DropQuery(cluster_algo_dict={"random_state": problem.seed}, random_state=problem.seed)
    layer = LastLayer(head, classes=list(range(problem.classes)))
    return _ask(strategy, problem.embeddings, problem, clf=layer, fit_clf=False)


def _logistic(problem: Problem) -> Any:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return SklearnClassifier(pipeline, classes=list(range(problem.classes)), random_state=problem.seed)


def _committee(problem: Problem) -> list[Any]:
    """Logistic regressions on the embeddings of bootstrap samples of the labeled rows."""
    generator = np.random.default_rng(problem.seed)
    members = []
    for _ in range(COMMITTEE):
        drawn = generator.integers(problem.n, size=problem.n)
        members.append(_logistic(problem).fit(problem.embeddings[drawn], problem.labels[drawn]))
    return members


def _by_committee(make: Callable[..., Any], problem: Problem) -> Any:
    if problem.n == 0:
        raise ValueError("a committee needs labeled items")
    strategy = make(random_state=problem.seed)
    return _ask(strategy, problem.embeddings, problem, ensemble=_committee(problem), fit_ensemble=False)


def _four_ds(problem: Problem) -> Any:
    """Its own generative classifier, a mixture of as many Gaussians as classes, on the embeddings."""
    mixture = BayesianGaussianMixture(
        n_components=problem.classes, covariance_type="diag", max_iter=200, random_state=problem.seed
    )
    model = MixtureModelClassifier(mixture, classes=list(range(problem.classes)), random_state=problem.seed)
    return _ask(pool.FourDs(random_state=problem.seed), problem.embeddings, problem, clf=model)


def _discriminative(problem: Problem) -> Any:
    """A logistic regression on the embeddings tells labeled from unlabeled."""
    strategy = pool.DiscriminativeAL(random_state=problem.seed)
    return _ask(strategy, problem.embeddings, problem, discriminator=_logistic(problem))


def _parzen(make: Callable[[Problem], Any], problem: Problem) -> Any:
    """Strategies that refit or count neighbors, with the library's Parzen windows on the embeddings."""
    variance = float(problem.embeddings.var())
    width = 1 / (problem.embeddings.shape[1] * variance) if variance > 0 else 1.0  # the usual rule of thumb
    model = ParzenWindowClassifier(
        classes=list(range(problem.classes)),
        metric_dict={"gamma": width},
        random_state=problem.seed,
    )
    return _ask(make(problem), problem.embeddings, problem, clf=model)


def _monte_carlo_eer(problem: Problem) -> Any:
    """Among candidates drawn at random, on whom alone it measures the error: all 1,300 would take minutes."""
    return pool.SubSamplingWrapper(
        pool.MonteCarloEER(random_state=problem.seed),
        max_candidates=max(EER_CANDIDATES, 2 * problem.count),
        exclude_non_subsample=True,
        random_state=problem.seed,
    )


def _prob_cover(problem: Problem) -> Any:
    return pool.ProbCover(n_classes=problem.classes, random_state=problem.seed)


def _seeded(make: Callable[..., Any]) -> Callable[[Problem], Any]:
    return lambda problem: make(random_state=problem.seed)


# By name: what makes them, and whether they are meant for features of unit length.
_FEATURES: dict[str, tuple[Callable[[Problem], Any], bool]] = {
    "core_set": (_seeded(pool.CoreSet), False),
    "typi_clust": (_seeded(pool.TypiClust), False),
    "prob_cover": (_prob_cover, True),
    "max_herding": (_seeded(pool.MaxHerding), False),
}

STRATEGIES: dict[str, Strategy] = {
    "random": partial(_features_only, _seeded(pool.RandomSampling), "embeddings", False),
    "margin": partial(_with_given, partial(pool.UncertaintySampling, method="margin_sampling")),
    "entropy": partial(_with_given, partial(pool.UncertaintySampling, method="entropy")),
    "least_confident": partial(_with_given, partial(pool.UncertaintySampling, method="least_confident")),
    "badge": partial(_with_given, partial(pool.Badge, clf_embedding_flag_name="with_embeddings")),
    "contrastive_al": partial(_with_given, partial(pool.ContrastiveAL, clf_embedding_flag_name="with_embeddings")),
    "falcun": partial(_with_given, pool.Falcun),
    "clue": _clue,
    "drop_query": _drop_query,
    "query_by_committee": partial(_by_committee, pool.QueryByCommittee),
    "greedy_bald": partial(_by_committee, pool.GreedyBALD),
    "batch_bald": partial(_by_committee, pool.BatchBALD),
    "four_ds": _four_ds,
    "discriminative_al": _discriminative,
    "monte_carlo_eer": partial(_parzen, _monte_carlo_eer),
    "probabilistic_al": partial(_parzen, _seeded(pool.ProbabilisticAL)),
    **{name: partial(_features_only, make, "embeddings", unit) for name, (make, unit) in _FEATURES.items()},
    **{f"{name}@inputs": partial(_features_only, make, "inputs", unit) for name, (make, unit) in _FEATURES.items()},
}
