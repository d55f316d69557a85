"""What people see of items: the texts or the pictures of one upload, packed in one artifact.

Layout: eight bytes that say what the entries are; how many there are and where their index begins (little-endian
int64); the entries end to end; the index, one int64 more than there are entries. Three short reads find any entry.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from store.artifacts import Artifacts
from store.errors import ArtifactCorruptError

Kind = Literal["text", "image"]
_MAGIC: dict[Kind, bytes] = {"text": b"LHTEXTS1", "image": b"LHIMAGE1"}
_KINDS = {magic: kind for kind, magic in _MAGIC.items()}
_HEAD = struct.Struct("<8sqq")
_RUNS = 20  # of neighbouring rows, in a sample of an array that is elsewhere
_NPY_HEAD = 4096  # more than the header of any array we have written


class Packer:
    """Writes a pack into an empty file, entry by entry."""

    def __init__(self, file: BinaryIO, kind: Kind) -> None:
        self._file, self._kind = file, kind
        self._offsets = [_HEAD.size]
        file.write(bytes(_HEAD.size))

    @property
    def nbytes(self) -> int:
        """Bytes of the entries so far."""
        return self._offsets[-1] - _HEAD.size

    def add(self, entry: bytes) -> None:
        """Append an entry."""
        self._file.write(entry)
        self._offsets.append(self._offsets[-1] + len(entry))

    def close(self) -> None:
        """Write the index. Leaves the file itself open, at its beginning."""
        self._file.write(np.array(self._offsets, dtype="<i8").tobytes())
        self._file.seek(0)
        self._file.write(_HEAD.pack(_MAGIC[self._kind], len(self._offsets) - 1, self._offsets[-1]))
        self._file.flush()
        self._file.seek(0)


def kind_of(artifacts: Artifacts, pack: str) -> Kind:
    """What the entries of a pack are. Raises ArtifactError."""
    return _head(artifacts, pack)[0]


def entry(artifacts: Artifacts, pack: str, row: int) -> bytes:
    """One entry; the rest of the pack is not read. Raises ArtifactError."""
    _, count, index = _head(artifacts, pack)
    if not 0 <= row < count:
        raise ArtifactCorruptError(f"artifact {pack} has {count} entries, and entry {row} was asked for", pack)
    places = artifacts.read(pack, index + 8 * row, index + 8 * (row + 2))
    if len(places) != 16:
        raise _short(pack)
    start, stop = struct.unpack("<qq", places)
    found = artifacts.read(pack, start, stop)
    if len(found) != stop - start:
        raise _short(pack)
    return found


def _head(artifacts: Artifacts, pack: str) -> tuple[Kind, int, int]:
    data = artifacts.read(pack, 0, _HEAD.size)
    if len(data) != _HEAD.size or data[:8] not in _KINDS:
        raise _short(pack)
    magic, count, index = _HEAD.unpack(data)
    return _KINDS[magic], count, index


def _short(pack: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(f"artifact {pack} is no whole pack of texts or pictures", pack)


def values(artifacts: Artifacts, array: str, row: int) -> npt.NDArray[Any]:
    """The numbers of one item, which are a row of an array artifact; the other rows are not read.

    Raises ArtifactError.
    """
    if artifacts.at_hand(array):
        return np.asarray(artifacts.array(array)[row])
    found: npt.NDArray[Any] = _rows(artifacts, array, _described(artifacts, array), row, row + 1)[0]
    return found


def sample(artifacts: Artifacts, array: str, most: int) -> npt.NDArray[Any]:
    """At most so many rows of an array artifact, from all over it: (rows, numbers of an item).

    Raises ArtifactError.
    """
    if artifacts.at_hand(array):
        rows = artifacts.array(array)
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))
        return np.asarray(rows[chosen]).reshape(len(chosen), -1)
    described = _described(artifacts, array)
    # Each run is a request of its own to where the array is.
    items, runs = described.shape[0], _RUNS if described.shape[0] > most else 1
    length = min(items, most) // runs
    starts = np.linspace(0, items - length, runs).astype(np.int64).tolist()
    found = [_rows(artifacts, array, described, start, start + length) for start in starts]
    return np.concatenate(found).reshape(length * runs, -1)


@dataclass(frozen=True)
class _Described:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begin: int  # of the numbers, in bytes


def _described(artifacts: Artifacts, array: str) -> _Described:
    head = io.BytesIO(artifacts.read(array, 0, _NPY_HEAD))
    try:
        np.lib.format.read_magic(head)
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    except ValueError as error:
        raise ArtifactCorruptError(f"artifact {array} is not a readable array: {error}", array) from error
    return _Described(shape, dtype, head.tell())


def _rows(artifacts: Artifacts, array: str, described: _Described, first: int, end: int) -> npt.NDArray[Any]:
    step = int(np.prod(described.shape[1:])) * described.dtype.itemsize
    found = artifacts.read(array, described.begin + first * step, described.begin + end * step)
    if len(found) != (end - first) * step:
        raise ArtifactCorruptError(f"artifact {array} is cut short", array)
    return np.frombuffer(found, described.dtype).reshape(end - first, *described.shape[1:])
