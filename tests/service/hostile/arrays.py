"""Hostile `.npy` pools, and ids."""

import struct
from typing import Any

import numpy as np

from tests.api import archive, names, npy, npz, vectors
from tests.service.hostile import Lot

X = vectors(4)
PLAIN = npy(X)
GOOD = npz(x=X, ids=np.array(names(4, "h-")))


def header(text: str, data: bytes = b"\0" * 96, version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    encoded = text.encode("latin-1") + b" " * (-(len(text) + 11) % 64) + b"\n"
    claimed = len(encoded) if length is None else length
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", claimed) + encoded + data


def shaped(shape: str, descr: str = "'<f4'", fortran: str = "False") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


def with_ids(ids: Any) -> bytes:
    return npz(x=X, ids=ids)


def ids_npy(text: bytes) -> bytes:
    return archive({"x.npy": PLAIN, "ids.npy": text})


def cut_short(lot: Lot) -> None:
    for at in (4, 8, 14, 26, 30, 40, 100, len(GOOD) - 22, len(GOOD) - 1):
        lot.add(f"npz cut at {at}", GOOD[:at], 422, "unknown_format" if at < 4 else "truncated_upload")
    for at in (1, 5, 7, 8):
        lot.add(f"npy cut at {at}", PLAIN[:at], 422, "unknown_format" if at < 6 else "invalid_array")
    for at in (9, 10, 40, 127):
        lot.add(f"npy cut at {at}", PLAIN[:at], 422, "invalid_array")
    for at in (128, 129, len(PLAIN) - 1):
        lot.add(f"npy cut at {at}", PLAIN[:at], 422, "truncated_upload")


def headers(lot: Lot) -> None:
    shapes = {
        "of negative numbers": "(-1, 6)", "of 2**63": f"({2**63}, 6)", "of 2**64": f"(1, {2**64})",
        "of a float": "(4.0, 6)", "of a text": "('4', 6)", "of truth values": "(True, 6)", "of None": "(None, 6)",
        "that is a list": "[4, 6]", "that is a number": "24", "of 33 dimensions": str((1,) * 33),
        "of 2000 dimensions": str((1,) * 2000), "of digits without end": "(" + "9" * 4400 + ", 6)",
    }  # fmt: skip
    for label, shape in shapes.items():
        lot.add(
            f"shape {label}", shaped(shape), 422, "truncated_upload" if label == "of truth values" else "invalid_array"
        )
    lot.add("shape whose product overflows", shaped(f"({2**32}, {2**32})"), 413, "pool_too_large")
    lot.add("shape of no item", shaped("(0, 6)"), 422, "wrong_shape")
    lot.add("shape of no number", shaped("(4, 0)"), 422, "wrong_shape")
    lot.add("shape of nothing", shaped("()"), 422, "wrong_shape")
    lot.add("fortran order of a number", shaped("(4, 6)", fortran="7"), 422, "invalid_array")
    lot.add("header without keys", header("{}"), 422, "invalid_array")
    lot.add(
        "header with more keys",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 6), 'x': 1}"),
        422,
        "invalid_array",
    )
    lot.add("header of braces", header("{" * 5000), 422, "invalid_array")
    lot.add("header of minus signs", header("-" * 9000 + "1"), 422, "invalid_array")
    lot.add(
        "header not ASCII",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, \xb2), }"),
        422,
        "invalid_array",
    )
    lot.add(
        "header with NUL", header("{'descr': '<f4\0', 'fortran_order': False, 'shape': (4, 6), }"), 422, "invalid_array"
    )
    lot.add("header claims 64 kB", header("{}", length=65_535), 422, "invalid_array")
    lot.add("header claims 4 GiB", header("{}", version=b"\x02\x00", length=2**32 - 1), 422, "invalid_array")
    lot.add("header claims 1 MiB and has it", header("{}" + " " * (1 << 20), version=b"\x02\x00"), 422, "invalid_array")
    lot.add("version 3", header("{}", version=b"\x03\x00"), 422, "invalid_array")
    lot.add("version 255", header("{}", version=b"\xff\xff"), 422, "invalid_array")


def polyglots(lot: Lot) -> None:
    lot.add("npy with a zip behind", PLAIN + GOOD, 422, "truncated_upload")
    lot.add("zip with a picture in front", b"\x89PNG\r\n\x1a\n" + GOOD, 422, "unknown_format")
    lot.add("pdf", b"%PDF-1.7\n" + GOOD, 422, "unknown_format")
    lot.add("gzip", b"\x1f\x8b\x08\0" + GOOD, 422, "unknown_format")
    lot.add("program", b"\x7fELF" + b"\0" * 100, 422, "unknown_format")
    lot.add("script", b"#!/bin/sh\ntrue\n" + b" " * 100, 422, "unknown_format")
    lot.add("web page", b"<script>alert(1)</script>" * 9, 422, "unknown_format")
    lot.add("parquet", b"PAR1" + b"\0" * 100 + b"PAR1", 422, "truncated_upload")
    lot.add("hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, 422, "unknown_format")


def numbers(lot: Lot) -> None:
    for label, value in (("NaN", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        for dtype in ("float16", "float32", "float64"):
            made = X.astype(dtype)
            made[3, 5] = value
            lot.add(f"{label} in {dtype}", npy(made), 422, "not_finite")
    lot.add("signalling NaN", PLAIN[:-4] + b"\x01\0\xa0\x7f", 422, "not_finite")
    lot.add("float64 past float32", npy(np.full((2, 6), 3.5e38)), 422, "not_finite")
    lot.add(
        "NaN in the last of many blocks",
        lambda: npy(np.vstack([np.zeros((400_000, 6), np.float32), np.full((1, 6), np.nan, np.float32)])),
        422,
        "not_finite",
    )
    lot.add("NaN in fortran order", npy(np.asfortranarray(np.full((4, 6), np.nan, np.float32))), 422, "not_finite")


def ids(lot: Lot) -> None:
    wide = np.array(names(4)).astype("U6")
    lot.add("ids twice", with_ids(np.array(["a", "b", "a", "c"])), 422, "duplicate_id")
    lot.add("ids of controls", with_ids(np.array(["a\x1b[2J", "b", "c", "d"])), 422, "invalid_ids")
    lot.add("ids with NUL", with_ids(np.array(["a\0b", "b", "c", "d"])), 422, "invalid_ids")
    lot.add("ids with delete", with_ids(np.array(["a\x7f", "b", "c", "d"])), 422, "invalid_ids")
    lot.add("ids of 600 characters", with_ids(np.array(["a" * 600, "b", "c", "d"])), 422, "invalid_ids")
    lot.add("ids of nothing", with_ids(np.array(["", "b", "c", "d"])), 422, "invalid_ids")
    lot.add("ids not UTF-8", with_ids(np.array([b"\xc3\x28", b"b", b"c", b"d"])), 422, "invalid_ids")
    lot.add("ids as floats", with_ids(np.arange(4.0)), 422, "invalid_ids")
    lot.add("ids as truth values", with_ids(np.ones(4, bool)), 422, "invalid_ids")
    lot.add("ids as dates", with_ids(np.array(["2020-01-01"] * 4, "datetime64[D]")), 422, "invalid_ids")
    lot.add("ids as a table", with_ids(np.array([["a", "b", "c", "d"]])), 422, "wrong_shape")
    lot.add("ids too few", with_ids(np.array(["a"])), 422, "wrong_shape")
    lot.add("ids too many", with_ids(np.array(list("abcde"))), 422, "wrong_shape")
    lot.add(
        "ids past Unicode",
        archive({"x.npy": PLAIN, "ids.npy": npy(wide).replace(b"i\0\0\0", b"\0\0\x11\0")}),
        422,
        "invalid_ids",
    )
    lot.add(
        "ids of half characters",
        archive({"x.npy": PLAIN, "ids.npy": npy(wide).replace(b"i\0\0\0", b"\0\xd8\0\0")}),
        422,
        "invalid_ids",
    )
    lot.add("ids that claim much", ids_npy(shaped("(4,)", "'<U2000'")), 422, "invalid_ids")
    lot.add("ids that claim more", ids_npy(shaped("(4000000000,)", "'<U500'")), 413, "pool_too_large")
    lot.add("ids cut", ids_npy(npy(wide)[:-3]), 422, "wrong_shape")


def dtypes(lot: Lot) -> None:
    found = {
        "object": ("'|O'", "unsupported_dtype"),
        "dates": ("'<M8[s]'", "unsupported_dtype"),
        "durations": ("'<m8[s]'", "unsupported_dtype"),
        "complex": ("'<c8'", "unsupported_dtype"),
        "void": ("'|V4'", "unsupported_dtype"),
        "text": ("'<U1'", "unsupported_dtype"),
        "bytes": ("'|S4'", "unsupported_dtype"),
        "big-endian": ("'>f4'", "unsupported_dtype"),
        "big-endian integers": ("'>i8'", "unsupported_dtype"),
        "long double": ("'<f16'", "unsupported_dtype"),
        "subarray": ("('<f4', (2,))", "unsupported_dtype"),
        "huge subarray": ("('<f4', (2147483647,))", "invalid_array"),
        "structure": ("[('a', '<f4'), ('b', '<f4')]", "unsupported_dtype"),
        "format": ("'%s%n'", "invalid_array"),
        "braces": ("'{0.__class__}'", "invalid_array"),
        "comma": ("'<f4,<f4'", "unsupported_dtype"),
        "call": ("__import__('os').system('true')", "invalid_array"),
        "a number": ("4", "invalid_array"),
        "huge text": ("'<U99999999'", "unsupported_dtype"),
        "nothing": ("''", "invalid_array"),
        "None": ("None", "invalid_array"),
    }  # fmt: skip
    for label, (descr, code) in found.items():
        lot.add(f"dtype {label}", shaped("(4, 6)", descr), 422, code)
