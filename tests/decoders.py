"""What a decoding process does, done here: without its start, and without its limits."""

import io
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.decoding import pictures, tables
from service.decoding.order import Decoded, Order

ORDER = Order(
    kind="pictures", size=0, shape=None, image_size=None, attributes=False, max_items=1_000_000, max_bytes=1 << 30,
    max_expansion=200, max_pixels=50_000_000, memory_bytes=1 << 31, array=-1, contents=-1, lines=-1,
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What came of an upload."""

    decoded: Decoded
    x: npt.NDArray[Any]


def decode(data: bytes, **more: Any) -> Found:
    """Raises RefusedError."""
    order = replace(ORDER, size=len(data), **more)
    array, contents, lines = io.BytesIO(), io.BytesIO(), io.StringIO()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        if order.kind == "pictures":
            found = pictures.decode(order, file, array, contents)
        else:
            found = tables.decode(order, file, array, contents, lines)
    array.seek(0)
    return Found(found, np.load(array))
