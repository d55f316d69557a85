"""What a peer's strategy is given: the rows a network has seen, and which of them have labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
PROBABILITY_MIN = 1e-12  # so that logarithms stay finite
AGREEMENT_MIN = 0.9


@dataclass(frozen=True)
class Problem:
    """A choice of `count` among m unlabeled rows, beside n labeled ones; other items of the pool are left out.

    Row k of the (n + m)-row arrays is labeled item k for k < n, and the unlabeled item unlabeled[k − n] after.
    """

    embeddings: Floats  # (n + m, D)
    probabilities: Floats  # (n + m, C)
    inputs: Floats  # (n + m, F)
    labels: Integers  # (n,)
    unlabeled: Integers  # (m,), indices into the pool of N items
    count: int
    seed: int

    @property
    def classes(self) -> int:
        """C."""
        return int(self.probabilities.shape[1])

    @property
    def n(self) -> int:
        """Labeled rows."""
        return len(self.labels)

    def items(self, rows: Any) -> list[int]:
        """Pool indices of chosen rows (count,), in their order.

        Raises ValueError unless these are `count` different unlabeled rows.
        """
        chosen = [int(row) for row in rows]
        if len(chosen) != self.count or len(set(chosen)) != len(chosen):
            raise ValueError(f"the strategy chose {len(set(chosen))} different rows of {self.count} asked for")
        if not all(self.n <= row < self.n + len(self.unlabeled) for row in chosen):
            raise ValueError("the strategy chose a row that is not unlabeled")
        return [int(self.unlabeled[row - self.n]) for row in chosen]


@dataclass(frozen=True)
class Head:
    """A linear last layer: logits are features · weight + bias."""

    weight: Floats  # (D, C)
    bias: Floats  # (C,)
    agreement: float  # fraction of rows whose most likely class it predicts as the network did

    def logits(self, features: Floats) -> Floats:
        """(K, C) of features (K, D)."""
        scores: Floats = features @ self.weight + self.bias
        return scores

    @property
    def caution(self) -> str | None:
        """What to say when it is not the network's last layer."""
        if self.agreement >= AGREEMENT_MIN:
            return None
        return f"a linear layer on the embeddings predicts only {self.agreement:.0%} of rows as the network does"


def recover_head(problem: Problem) -> Head:
    """The last layer by least squares from log-probabilities, which are logits up to a constant per row.

    Exact when probabilities are the softmax of a linear map of the embeddings and n + m > D.
    """
    logs = np.log(problem.probabilities)
    design = np.hstack([problem.embeddings, np.ones((len(logs), 1))])
    solution, *_ = np.linalg.lstsq(design, logs - logs.mean(axis=1, keepdims=True), rcond=None)
    agreement = np.mean((design @ solution).argmax(axis=1) == logs.argmax(axis=1))
    return Head(solution[:-1], solution[-1], float(agreement))


def _matrix(arrays: Any, name: str) -> Floats:
    matrix = np.asarray(arrays[name], dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{name} are (items, columns), not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} have entries that are not finite")
    return matrix


def _indices(arrays: Any, name: str, size: int) -> Integers:
    vector = np.asarray(arrays[name])
    # An empty list is saved as floats.
    if vector.ndim != 1 or (len(vector) and not np.issubdtype(vector.dtype, np.integer)):
        raise ValueError(f"{name} are a vector of integers, not {vector.dtype} of shape {vector.shape}")
    if len(vector) and not 0 <= vector.min() <= vector.max() < size:
        raise ValueError(f"{name} are between 0 and {size - 1}, not {vector.min()} to {vector.max()}")
    return vector.astype(np.int64)


def load(path: Path, count: int, seed: int) -> Problem:
    """The problem in an .npz file, to choose `count` items.

    The file has embeddings (N, D), probabilities (N, C), inputs (N, F), labeled (n,), labels (n,) and unlabeled (m,).
    Raises ValueError naming what is missing or does not fit.
    """
    with np.load(path, allow_pickle=False) as arrays:
        wanted = {"embeddings", "probabilities", "inputs", "labeled", "labels", "unlabeled"}
        if absent := wanted - set(arrays.files):
            raise ValueError(f"{path.name} lacks {sorted(absent)}")
        embeddings, probabilities, inputs = (
            _matrix(arrays, name) for name in ("embeddings", "probabilities", "inputs")
        )
        if not len(embeddings) == len(probabilities) == len(inputs):
            raise ValueError(
                f"embeddings, probabilities and inputs are of the same items, not of {len(embeddings)}, "
                f"{len(probabilities)} and {len(inputs)}"
            )
        labeled, unlabeled = (_indices(arrays, name, len(embeddings)) for name in ("labeled", "unlabeled"))
        labels = _indices(arrays, "labels", probabilities.shape[1])
    rows = np.concatenate([labeled, unlabeled])
    if len(np.unique(rows)) != len(rows):
        raise ValueError("an item is named twice among labeled and unlabeled")
    if len(labels) != len(labeled):
        raise ValueError(f"there are {len(labels)} labels for {len(labeled)} labeled items")
    if not 1 <= count <= len(unlabeled):
        raise ValueError(f"between 1 and {len(unlabeled)} items can be chosen, not {count}")
    if probabilities.min() < 0 or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities are at least 0 and sum to 1 for each item")
    clipped = np.maximum(probabilities[rows], PROBABILITY_MIN)
    clipped /= clipped.sum(axis=1, keepdims=True)
    return Problem(embeddings[rows], clipped, inputs[rows], labels, unlabeled, count, seed)
