"""Hostile `.safetensors` pools."""

import json
import struct
from typing import Any

from tests.service.hostile import Lot
from tests.service.hostile.arrays import X


def tensors(text: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(data: bytes = b"\0" * 24, **changes: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [1, 6], "data_offsets": [0, 24], **changes}
    return tensors(json.dumps({"x": entry}).encode(), data)


def text_ids(ids: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [4, 6], "data_offsets": [0, 96]}
    return tensors(json.dumps({"__metadata__": {"ids": json.dumps(ids)}, "x": entry}).encode(), X.tobytes())


def safetensors(lot: Lot) -> None:
    good = {"x": {"dtype": "F32", "shape": [1, 6], "data_offsets": [0, 24]}}
    text = json.dumps(good).encode()
    lot.add("safetensors: header of 2**63", tensors(text, b"\0" * 24, 2**63), 422, "unknown_format")
    lot.add("safetensors: header past the file", tensors(text, b"\0" * 24, 10_000), 422, "unknown_format")
    lot.add(
        "safetensors: header of 20 MB", lambda: tensors(b"{" + b" " * (20 << 20) + b"}"), 422, "invalid_safetensors"
    )
    lot.add("safetensors: header cut", tensors(text[:-5], b"\0" * 24), 422, "invalid_safetensors")
    lot.add("safetensors: header of brackets", tensors(b"[" * 100_000), 422, "invalid_safetensors")
    lot.add("safetensors: header of braces", tensors(b'{"a":' * 50_000), 422, "invalid_safetensors")
    lot.add("safetensors: header is a list", tensors(b"[]"), 422, "invalid_safetensors")
    lot.add("safetensors: header not UTF-8", tensors(b'{"\xff": 1}'), 422, "invalid_safetensors")
    lot.add("safetensors: NaN", tensors(text.replace(b"24", b"NaN"), b"\0" * 24), 422, "invalid_safetensors")
    lot.add(
        "safetensors: offset of digits",
        tensors(text.replace(b"24", b"9" * 5000), b"\0" * 24),
        422,
        "invalid_safetensors",
    )
    lot.add("safetensors: name twice", tensors(text[:-1] + b", " + text[1:], b"\0" * 24), 422, "invalid_safetensors")
    lot.add(
        "safetensors: key twice",
        tensors(text.replace(b'"shape"', b'"dtype": "F64", "shape"'), b"\0" * 24),
        422,
        "invalid_safetensors",
    )
    lot.add("safetensors: tail", tensor(b"\0" * 25), 422, "truncated_upload")
    lot.add("safetensors: cut", tensor(b"\0" * 23), 422, "truncated_upload")
    changes: dict[str, tuple[dict[str, Any], str]] = {
        "offsets turned round": ({"data_offsets": [24, 0]}, "invalid_safetensors"),
        "negative offsets": ({"data_offsets": [-24, 0]}, "invalid_safetensors"),
        "offsets beyond": ({"data_offsets": [2**52, 2**52 + 24]}, "invalid_safetensors"),
        "offset of 2**64": ({"data_offsets": [0, 2**64]}, "invalid_safetensors"),
        "one offset": ({"data_offsets": [24]}, "invalid_safetensors"),
        "offsets as text": ({"data_offsets": ["0", "24"]}, "invalid_safetensors"),
        "offset true": ({"data_offsets": [False, 24]}, "invalid_safetensors"),
        "unknown dtype": ({"dtype": "F128"}, "invalid_safetensors"),
        "dtype null": ({"dtype": None}, "invalid_safetensors"),
        "dtype F8": ({"dtype": "F8_E4M3", "data_offsets": [0, 6]}, "truncated_upload"),
        "negative shape": ({"shape": [-1, -6]}, "invalid_safetensors"),
        "shape of floats": ({"shape": [1.0, 6.0]}, "invalid_safetensors"),
        "shape that overflows": ({"shape": [2**40, 2**40]}, "invalid_safetensors"),
        "33 dimensions": ({"shape": [1] * 33}, "invalid_safetensors"),
        "more keys": ({"run": "x"}, "invalid_safetensors"),
        "no items": ({"shape": [0, 6], "data_offsets": [0, 0]}, "truncated_upload"),
    }
    for label, (change, code) in changes.items():
        lot.add(f"safetensors: {label}", tensor(**change), 422, code)
    two = {"x": good["x"], "y": good["x"]}
    lot.add("safetensors: overlap", tensors(json.dumps(two).encode(), b"\0" * 24), 422, "invalid_safetensors")
    hole = {"x": good["x"], "y": {**good["x"], "data_offsets": [30, 54]}}
    lot.add("safetensors: hole", tensors(json.dumps(hole).encode(), b"\0" * 54), 422, "invalid_safetensors")
    lot.add("safetensors: metadata nests", tensors(b'{"__metadata__": {"a": {}}}'), 422, "invalid_safetensors")
    lot.add("safetensors: no tensor", tensors(b"{}"), 422, "x_missing")
    lot.add("safetensors: ids no list", text_ids({"a": 1}), 422, "invalid_ids")
    lot.add("safetensors: ids of numbers", text_ids([1, 2, 3, 4]), 422, "invalid_ids")
    lot.add("safetensors: ids nest", text_ids([[[]], 1, 2, 3]), 422, "invalid_ids")
    lot.add("safetensors: ids of half a character", text_ids(["\ud800", "b", "c", "d"]), 422, "invalid_ids")
    lot.add("safetensors: ids too few", text_ids(["a"]), 422, "wrong_shape")
    nan = struct.pack("<f", float("nan"))
    lot.add("safetensors: NaN number", tensor(b"\0" * 20 + nan), 422, "not_finite")
