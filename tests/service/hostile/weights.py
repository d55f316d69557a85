"""Hostile checkpoints: torch archives, pickles, safetensors."""

import io
import json
import pickle
import struct
import tarfile
from typing import Any

import numpy as np

from tests.api import archive, npy, torch_save
from tests.factories import mlp
from tests.service.hostile import Lot, Member, StateTrap, pickled, zipped
from tests.service.hostile.archives import big_directory, many_members
from tests.service.hostile.tensors import tensors


def good() -> bytes:
    return torch_save(mlp(6, [16, 8], 3).state_dict())


def tarred(names: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def layout(**changes: Any) -> bytes:
    """The right names and shapes, with entries changed."""
    header: dict[str, Any] = {}
    end = 0
    for key, value in mlp(6, [16, 8], 3).state_dict().items():
        size = 4 * value.numel()
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + size]}
        end += size
    data = bytearray(np.ones(end // 4, np.float32).tobytes())
    if "last" in changes:
        data[-4:] = struct.pack("<f", changes.pop("last"))
    header.update(changes)
    return tensors(json.dumps(header).encode(), bytes(data))


def checkpoints(lot: Lot) -> None:

    for protocol in (2, 3, 4, 5):
        lot.add(f"pickle, protocol {protocol}", pickled(protocol), 422, "pickle_refused")
    for protocol in (0, 1):
        lot.add(f"pickle, protocol {protocol}", pickled(protocol), 422, "invalid_safetensors")
    lot.add("pickle with state", pickled(2, StateTrap()), 422, "pickle_refused")
    legacy = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    lot.add("legacy file", legacy + pickled(2), 422, "pickle_refused")
    lot.add("tar file", tarred({"sys_info": b"x", "pickle": pickled(2)}), 422, "invalid_safetensors")
    lot.add("tar file that leads up", tarred({"../../storages": pickled(2)}), 422, "invalid_safetensors")
    # What is pickled inside is a worker's to refuse, in a process of its own; the container is refused here.
    lot.add("pickle alone in a zip", archive({"a/x.pkl": pickled(2)}), 422, "unknown_format")
    for label, name in {"up": b"a/../../data.pkl", "absolute": b"/data.pkl", "backslash": b"a\\..\\data.pkl",
                        "NUL": b"a/data\0.pkl"}.items():  # fmt: skip
        lot.add(
            f"member leads {label}", zipped(Member(b"a/data.pkl", b""), Member(name, b"")), 422, "unexpected_member"
        )
    lot.add("member twice", zipped(Member(b"a/data.pkl", b"1"), Member(b"a/data.pkl", b"2")), 422, "unexpected_member")
    lot.add(
        "script archive",
        archive({"a/data.pkl": b"", "a/constants.pkl": b"", "a/code/x.py": b""}),
        422,
        "exported_program_refused",
    )
    lot.add(
        "script code only",
        archive({"a/data.pkl": b"", "a/code/__torch__.py": b"import os"}),
        422,
        "exported_program_refused",
    )
    lot.add(
        "exported program", archive({"a/archive_format": b"pt2", "a/data.pkl": b""}), 422, "exported_program_refused"
    )
    lot.add("packaged models", archive({"a/models/m.json": b"{}", "a/data.pkl": b""}), 422, "exported_program_refused")
    lot.add("compressed members", zipped(Member(b"a/data.pkl", b"x", 8)), 422, "unsupported_archive")
    lot.add("encrypted members", zipped(Member(b"a/data.pkl", b"x", flags=1)), 422, "unsupported_archive")
    lot.add(
        "claims 4 GB",
        zipped(Member(b"a/data.pkl", b"x", compressed=2**32 - 2, size=2**32 - 2)),
        413,
        "expands_too_much",
    )
    extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    lot.add(
        "claims 2**62 by zip64",
        zipped(Member(b"a/data.pkl", b"x", compressed=2**32 - 1, size=2**32 - 1, extra=extra)),
        413,
        "expands_too_much",
    )
    lot.add("directory of 6 MB", big_directory, 413, "expands_too_much")
    lot.add("many members", many_members, 422, "unknown_format")
    for at in (4, 30, 200):
        lot.add(f"cut at {at}", good()[:at], 422, "truncated_upload")
    lot.add("cut in the directory", lambda: good()[:-40], 422, "truncated_upload")
    lot.add("something in front", lambda: b"x" * 10 + good(), 422, "invalid_safetensors")
    lot.add("npy", npy(np.ones((2, 6))), 422, "invalid_safetensors")
    lot.add("one byte", b"x", 422, "invalid_safetensors")
    lot.add("eight zeros", b"\0" * 8, 422, "invalid_safetensors")
    lot.add("gzip", b"\x1f\x8b\x08\0" + b"\0" * 100, 422, "invalid_safetensors")
    lot.add("hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, 422, "invalid_safetensors")
    lot.add("onnx", b"\x08\x07\x12\x07pytorch" + b"\0" * 100, 422, "invalid_safetensors")
    lot.add("NaN at the end", layout(last=float("nan")), 422, "not_finite")
    lot.add("infinity at the end", layout(last=float("-inf")), 422, "not_finite")
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    lot.add("key that leads up", layout(**{"../../x": entry}), 422, "wrong_layout")
    lot.add("key of NUL", layout(**{"\0": entry}), 422, "wrong_layout")
    lot.add("key of 100 kB", layout(**{"k" * 100_000: entry}), 422, "wrong_layout")
    lot.add("10,000 more keys", lambda: layout(**{f"k{k}": entry for k in range(10_000)}), 422, "wrong_layout")
    lot.add("metadata of numbers", layout(__metadata__={"a": 1}), 422, "invalid_safetensors")
    lot.add(
        "wrong dtype",
        layout(**{"1.bias": {"dtype": "I8", "shape": [16], "data_offsets": [384, 400]}}),
        422,
        "invalid_safetensors",
    )
