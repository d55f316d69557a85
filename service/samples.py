"""Where numbers lie among those of their pool, for people: an amount says little without the others."""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from store import contents
from store.artifacts import Artifacts

_ROWS = 2000
_KEPT = 16  # at most 2 MB each: rows of 256 numbers


class Samples:
    """Samples of uploads, each column in order. They are kept: an artifact never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def places(self, artifacts: Artifacts, array: str, items: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
        """For each number of items (N, D), the share of a sample of `array` below it, 0 to 1; equal ones count half.

        None where the sample has fewer than two items. Raises ArtifactError.
        """
        columns = self._columns(artifacts, array)
        if columns.shape[1] < 2:
            return None
        found = np.empty(items.shape)
        for place, (column, numbers) in enumerate(zip(columns, items.T.astype(np.float32), strict=True)):
            below = np.searchsorted(column, numbers, "left") + np.searchsorted(column, numbers, "right")
            found[:, place] = below / (2 * len(column))
        return found

    def _columns(self, artifacts: Artifacts, array: str) -> npt.NDArray[np.float32]:
        with self._lock:
            if array in self._kept:
                self._kept.move_to_end(array)
                return self._kept[array]
        rows = contents.sample(artifacts, array, _ROWS)
        columns = np.sort(rows.T.astype(np.float32), axis=1)
        with self._lock:
            self._kept[array] = columns
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return columns
