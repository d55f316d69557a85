"""Files that hold an array with ids or texts beside it: `.npz` and `.safetensors`."""

import json
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from service.decoding.archive import DAMAGED
from service.problems import InvalidError, TooLargeError
from service.settings import ServiceSettings
from service.uploads.arrays import checked_header, extract, from_offset, wrong_dtype
from service.uploads.rows import ArrayHeader, Source
from service.uploads.safetensors import read_header
from service.uploads.texts import checked_ids, pack_texts, read_columns, read_ids
from service.uploads.zips import BoundedReader
from store.artifacts import is_full
from store.contents import Packer

_MEMBERS = {"x.npy", "ids.npy", "text.npy", "columns.npy"}
_ADVICE = "send one written by numpy.savez"
_SAFETENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "U8": "|u1", "I8": "|i1", "BOOL": "|b1"} | {
    f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (16, 32, 64)
}


@dataclass(frozen=True)
class Extracted:
    """Where the numbers are, the ids that came with them, a pack of their texts, and names of the numbers."""

    source: Source
    ids: list[str] | None
    texts: BinaryIO | None
    columns: list[str] | None = None


def is_npz(file: BinaryIO) -> bool:
    """Whether a zip archive is one of arrays, by the names of its members; if not, it may be one of pictures."""
    reader = BoundedReader(file, _ADVICE)
    try:
        with zipfile.ZipFile(cast(BinaryIO, reader)) as archive:
            names = archive.namelist()
    except TooLargeError:
        return False  # thousands of members
    except DAMAGED as error:
        raise InvalidError("truncated_upload", f"the archive is damaged or cut short: {error}") from error
    return not names or any(name.endswith(".npy") for name in names)


def extract_npz(file: BinaryIO, stack: ExitStack, settings: ServiceSettings) -> Extracted:
    """The arrays of an `.npz`; its texts packed. Raises InvalidError, TooLargeError."""
    reader = BoundedReader(file, _ADVICE)
    try:
        archive = stack.enter_context(zipfile.ZipFile(cast(BinaryIO, reader)))
        members = _checked_members(archive, settings)
        reader.listed = True
        source = extract(lambda: archive.open(members["x.npy"]), members["x.npy"].file_size, settings)
        items, ids, texts, columns = source.header.shape[0], None, None, None
        if "ids.npy" in members:
            with archive.open(members["ids.npy"]) as stream:
                ids = read_ids(stream, members["ids.npy"].file_size, items)
        if "text.npy" in members:
            texts = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
            packer = Packer(texts, "text")
            with archive.open(members["text.npy"]) as stream:
                pack_texts(stream, members["text.npy"].file_size, items, packer, settings)
            packer.close()
        if "columns.npy" in members:
            with archive.open(members["columns.npy"]) as stream:
                columns = read_columns(stream, members["columns.npy"].file_size, source.header.shape)
        return Extracted(source, ids, texts, columns)
    except DAMAGED as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise InvalidError("truncated_upload", f"the .npz is damaged or cut short: {error}") from error


def _checked_members(archive: zipfile.ZipFile, settings: ServiceSettings) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename not in _MEMBERS or member.filename in members:
            raise InvalidError(
                "unexpected_member",
                f"the .npz has a member {member.filename[:200]!r} too many: it may hold x, ids, text and "
                "columns, once each",
            )
        if member.flag_bits & 1 or member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise InvalidError("unsupported_archive", "the .npz is encrypted or not compressed by deflate")
        if member.file_size > settings.max_expansion * max(member.compress_size, 1):
            raise TooLargeError(
                "expands_too_much",
                f"{member.filename} would expand {member.file_size // max(member.compress_size, 1)} times, "
                f"and {settings.max_expansion} times is the most: send it uncompressed (numpy.savez)",
            )
        members[member.filename] = member
    if "x.npy" not in members:
        raise InvalidError("x_missing", "the .npz has no array x, which should hold the items, (N, ...)")
    return members


def extract_safetensors(file: BinaryIO, size: int, settings: ServiceSettings) -> Extracted:
    """The tensor of a `.safetensors`. Raises InvalidError, TooLargeError."""
    found = read_header(file, size)
    if set(found.tensors) != {"x"}:
        raise InvalidError("x_missing", "the .safetensors must hold one tensor, x, with the items, (N, ...)")
    entry = found.tensors["x"]
    if entry.dtype not in _SAFETENSORS:
        raise wrong_dtype(entry.dtype)
    header = checked_header(ArrayHeader(np.dtype(_SAFETENSORS[entry.dtype]), entry.shape, False), settings)
    source = Source(header, from_offset(file, entry.start))
    if "ids" not in found.metadata:
        return Extracted(source, None, None)
    try:
        ids = json.loads(found.metadata["ids"])
    except (ValueError, RecursionError) as error:
        raise InvalidError("invalid_ids", f"the metadata entry ids is not JSON: {error}") from error
    if not isinstance(ids, list):
        raise InvalidError("invalid_ids", "the metadata entry ids is not a JSON list of strings")
    return Extracted(source, checked_ids(ids), None)
