"""The small data sets that come with scikit-learn: nothing is fetched."""

from typing import Any

import numpy as np

from benchmarks.data.base import Dataset, Floats

_TABLES = ("breast_cancer", "wine", "iris")
NAMES = ("digits", "digits_images", *_TABLES)
_DIGITS_MAX = 16  # the darkest pixel of the 8x8 digits


def bundled(name: str) -> Dataset:
    """One of NAMES, items in scikit-learn's order.

    `digits` are 1,797 vectors (64,) in [0, 1] and `digits_images` the same as images (1, 8, 8); `breast_cancer` is
    (569, 30), `wine` (178, 13) and `iris` (150, 4), every column standardised to mean 0 and variance 1.
    Raises ValueError for any other name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no bundled data set {name!r}; there are {', '.join(NAMES)}")
    from sklearn import datasets  # takes seconds to load

    found = getattr(datasets, f"load_{name if name in _TABLES else 'digits'}")()
    classes = [str(label) for label in found.target_names]
    y = found.target.astype(np.int64)
    if name in _TABLES:
        return Dataset(name, _standardised(found.data), y, classes)
    x = (found.data / _DIGITS_MAX).astype(np.float32)
    return Dataset(name, x.reshape(-1, 1, 8, 8) if name == "digits_images" else x, y, classes)


def _standardised(table: Any) -> Floats:
    columns = np.asarray(table, dtype=np.float64)
    scaled: Floats = ((columns - columns.mean(axis=0)) / columns.std(axis=0)).astype(np.float32)
    return scaled
