"""Checkpoint weights: the header against the architecture's layout, the numbers for NaN. No torch.

State dicts of torch.save are told by their first bytes, whatever the file is called. Reading their tensors means
unpickling: here their container is checked, and a worker converts them and applies the same checks.
"""

from typing import BinaryIO

import numpy as np

from service.problems import InvalidError
from service.uploads.safetensors import Header, TensorEntry, read_header
from service.uploads.torch_archives import MAGIC, check_archive
from store.architectures import Architecture, LayoutError, check_layout, is_counter, known

_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_INTEGERS = {"I64", "I32"}
_BLOCK = 8 << 20
_BF16_EXPONENT = 0x7F80


def check_weights(file: BinaryIO, size: int, architecture: Architecture) -> None:
    """Raise InvalidError or TooLargeError unless the file holds finite weights for the architecture.

    Of a torch.save archive, and of an architecture that only workers know, less can be told: the job tells the rest.
    """
    file.seek(0)
    if file.read(len(MAGIC)) == MAGIC:
        check_archive(file, size, known())
        return
    header: Header = read_header(file, size)
    layout = architecture.layout()
    if layout is not None:
        try:
            check_layout(layout, {name: entry.shape for name, entry in header.tensors.items()})
        except LayoutError as error:
            raise InvalidError("wrong_layout", f"the weights do not fit {architecture.name}: {error}") from error
    for name, entry in header.tensors.items():
        # Index tables are integers; in a layout that is known here, only the counters of batches are.
        if entry.dtype in _INTEGERS and (layout is None or is_counter(name)):
            continue
        if entry.dtype not in _FLOATS and entry.dtype != "BF16":
            raise InvalidError(
                "unsupported_dtype", f"tensor {name!r} is {entry.dtype}; weights are F16, BF16, F32 or F64"
            )
        _check_finite(file, name, entry)


def _check_finite(file: BinaryIO, name: str, entry: TensorEntry) -> None:
    file.seek(entry.start)
    left = entry.stop - entry.start
    while left:
        block = file.read(min(_BLOCK, left))
        left -= len(block)
        if entry.dtype == "BF16":
            bits = np.frombuffer(block, dtype="<u2")
            finite = bool(np.all(bits & _BF16_EXPONENT != _BF16_EXPONENT))
        else:
            finite = bool(np.isfinite(np.frombuffer(block, dtype=_FLOATS[entry.dtype])).all())
        if not finite:
            raise InvalidError("not_finite", f"tensor {name!r} has NaN or infinite entries")
