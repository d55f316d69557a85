"""All data sets that can be made on the spot, by name."""

from collections.abc import Callable
from functools import partial

from benchmarks.data.base import Dataset
from benchmarks.data.bundled import NAMES, bundled
from benchmarks.data.glyphs import glyphs10, glyphs62

DATASETS: dict[str, Callable[[], Dataset]] = {
    **{name: partial(bundled, name) for name in NAMES},
    "glyphs10": glyphs10,
    "glyphs62": glyphs62,
}
