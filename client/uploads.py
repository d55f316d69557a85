"""Arrays and weights as the files that the service takes."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

# numpy's dtypes by safetensors' names for them, of those that a network's weights come in.
_DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64"}


@contextmanager
def pool_file(data: "Path | str | Array", ids: Sequence[str] | None) -> Iterator[tuple[str, IO[bytes]]]:
    """(file name, open file) of a path, or of an array (N, ...) written as .npz."""
    if isinstance(data, Path | str):
        if ids is not None:
            raise ValueError("ids go with an array; a file brings its own")
        with Path(data).open("rb") as file:
            yield Path(data).name, file
        return
    import numpy as np

    arrays = {"x": data} | ({} if ids is None else {"ids": np.array(ids, dtype=str)})
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    packed.seek(0)
    yield "pool.npz", packed


@contextmanager
def weights_file(weights: "Path | str | bytes | Mapping[str, Array]") -> Iterator[tuple[str, IO[bytes]]]:
    """(file name, open file) of a path, of bytes, or of arrays by state-dict key written as safetensors."""
    if isinstance(weights, Path | str):
        with Path(weights).open("rb") as file:
            yield Path(weights).name, file
        return
    yield "weights", io.BytesIO(weights if isinstance(weights, bytes) else _safetensors(weights))


def _safetensors(arrays: "Mapping[str, Array]") -> bytes:
    """The format whole: the header's length in 8 bytes, the header as JSON, then the tensors end to end."""
    header, parts, start = {}, [], 0
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"tensor {name!r} is {array.dtype.name}; weights are one of: {', '.join(_DTYPES)}")
        part = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        end = start + len(part)
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        parts.append(part)
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the tensors start on a multiple of 8
    return len(text).to_bytes(8, "little") + text + b"".join(parts)
