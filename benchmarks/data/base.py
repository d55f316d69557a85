"""What a data set of the benchmarks is, and its division into a pool and held-out items."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """N items with their true classes. Raises ValueError when arrays, types and classes do not fit together.

    Images are (N, channels, height, width) in [0, 1]; vectors are (N, D), standardised per column or in [0, 1].
    """

    name: str
    x: Floats  # (N, ...)
    y: Classes  # (N,), each in 0 ... C - 1
    classes: list[str]  # C names

    def __post_init__(self) -> None:
        if self.x.dtype != np.float32 or self.y.dtype != np.int64:
            raise ValueError(f"{self.name}: x is {self.x.dtype} and y {self.y.dtype}; float32 and int64 are needed")
        if self.x.ndim not in (2, 4) or self.y.shape != self.x.shape[:1]:
            raise ValueError(
                f"{self.name}: x has the shape {self.x.shape} and y {self.y.shape}; "
                "(N, D) or (N, channels, height, width) and (N,) are needed"
            )
        outside = np.flatnonzero((self.y < 0) | (self.y >= len(self.classes)))
        if len(outside):
            raise ValueError(
                f"{self.name}: item {outside[0]} has the class {self.y[outside[0]]}; "
                f"0 to {len(self.classes) - 1} are named"
            )


@dataclass(frozen=True, eq=False)
class Split:
    """Items to choose labels from and items to measure accuracy on; no item is in both."""

    pool_x: Floats  # (pool, ...)
    pool_y: Classes  # (pool,)
    held_out_x: Floats  # (held_out, ...)
    held_out_y: Classes  # (held_out,)


def split(dataset: Dataset, seed: int, pool: int, held_out: int) -> Split:
    """Draw `pool` and `held_out` distinct items, with the classes in the proportions of the whole data set.

    A class's share is its proportion rounded up or down, so a class of very few items can be missing from either part.
    Items are in random order within each part, and the held-out part is the same for every size of the pool.
    Raises ValueError when a part would be empty or the data set is too small for both.
    """
    N = len(dataset.y)
    if pool < 1 or held_out < 1 or pool + held_out > N:
        raise ValueError(
            f"{dataset.name}: a pool of {pool} and {held_out} held-out items were asked for; "
            f"both need at least 1, together at most {N}"
        )
    generator = np.random.default_rng(seed)
    order = _evenly_mixed(dataset.y, generator)
    away = generator.permutation(order[:held_out])
    kept = generator.permutation(order[held_out : held_out + pool])
    return Split(dataset.x[kept], dataset.y[kept], dataset.x[away], dataset.y[away])


def _evenly_mixed(y: Classes, generator: np.random.Generator) -> Classes:
    """All N positions in an order whose every stretch has the classes in the proportions of the whole.

    This is systematic sampling: the items of a class stand at equal distances, from a random start.
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == label))
        place[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)
