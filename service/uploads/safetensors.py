"""The header of a safetensors file, read strictly: every byte of the file must be accounted for."""

import json
import math
from dataclasses import dataclass
from typing import Any, BinaryIO

from service.problems import InvalidError

_HEADER_MAX = 16 << 20
_DIMENSIONS_MAX = 32
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """All tensors by name, and the free-form metadata."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]


def read_header(file: BinaryIO, size: int) -> Header:
    """Parse and check the header of a file of `size` bytes. Raises InvalidError `invalid_safetensors`."""
    file.seek(0)
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > min(_HEADER_MAX, size - 8):
        # Only now: a header of 128 bytes also begins with the pickle protocol's first byte.
        if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
            raise InvalidError(
                "pickle_refused",
                "this is a pickle or a torch.save archive, which can run code when read: "
                "save with safetensors.torch.save_file(model.state_dict(), path)",
            )
        raise _invalid("the file does not begin with the length of a header it holds")
    try:
        parsed = json.loads(file.read(length), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"its header is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise _invalid("its header is not a JSON object")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("its metadata is not a map of strings")
    tensors = {name: _entry(name, entry, 8 + length) for name, entry in parsed.items()}
    _check_cover(tensors, 8 + length, size)
    return Header(tensors, metadata)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name is given twice")
    return dict(pairs)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _entry(name: str, entry: Any, base: int) -> TensorEntry:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop], **rest} if not rest:
            pass
        case _:
            raise _invalid(f"the entry of tensor {name!r} is not dtype, shape and data_offsets")
    if dtype not in ITEM_BYTES:
        raise _invalid(f"tensor {name!r} has the unknown dtype {dtype!r}")
    # Before anything is multiplied: a product of thousands of sides would take seconds.
    if len(shape) > _DIMENSIONS_MAX:
        raise _invalid(f"tensor {name[:100]!r} has {len(shape)} dimensions; {_DIMENSIONS_MAX} is the most")
    if not all(_count(side) for side in shape) or not _count(start) or not _count(stop):
        raise _invalid(f"the shape or the offsets of tensor {name!r} are not counts")
    if stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise _invalid(f"tensor {name!r} has {stop - start} bytes, and shape {shape} of {dtype} needs others")
    return TensorEntry(dtype, tuple(shape), base + start, base + stop)


def _check_cover(tensors: dict[str, TensorEntry], base: int, size: int) -> None:
    at = base
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != at:
            raise _invalid(f"the bytes of tensor {name!r} do not follow those before it")
        at = entry.stop
    if at != size:
        state = "is truncated" if at > size else "has bytes that belong to no tensor"
        raise InvalidError("truncated_upload", f"the safetensors file {state}: {size} bytes, {at} expected")


def _invalid(reason: str) -> InvalidError:
    return InvalidError("invalid_safetensors", f"not a safetensors file: {reason}")
