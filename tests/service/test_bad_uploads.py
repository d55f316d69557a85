"""Bad uploads: each a precise problem, and nothing changed."""

import json
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import ServiceSettings
from tests import factories
from tests.api import Api, archive, assert_problem, names, npy, npz, torch_save, vectors, weights


def object_array() -> bytes:
    return npy(np.array([{"a": 1}, None], dtype=object), pickled=True)


def lying_npy(shape: str, data: bytes = b"\0" * 64, descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


X = vectors(4)
GOOD = npz(x=X, ids=np.array(names(4, "new-")))
nan, inf, huge = X.copy(), X.copy(), X.astype(np.float64)
nan[2, 1], inf[3, 0], huge[1, 1] = np.nan, -np.inf, 1e300
F4 = {"dtype": "F32", "shape": [1, 6], "data_offsets": [0, 24]}

POOLS: dict[str, tuple[bytes, int, str, str]] = {
    "nan": (npz(x=nan, ids=np.array(names(4, "new-"))), 422, "not_finite", "item 2 ('new-2')"),
    "infinite": (npy(inf), 422, "not_finite", "item 3"),
    "beyond float32": (npy(huge), 422, "not_finite", "item 1"),
    "other shape": (npz(x=vectors(4, 7)), 422, "wrong_shape", "[7]"),
    "one dimension": (npy(np.ones(6, np.float32)), 422, "wrong_shape", "(N, ...)"),
    "no items": (npy(np.ones((0, 6), np.float32)), 422, "wrong_shape", "(N, ...)"),
    "complex": (npy(np.ones((2, 6), complex)), 422, "unsupported_dtype", "complex128"),
    "text": (npy(np.array([["a"] * 6])), 422, "unsupported_dtype", "<U1"),
    "dates": (npy(np.array([["2020-01-01"] * 6], "datetime64[D]")), 422, "unsupported_dtype", "datetime64"),
    "big-endian": (npy(X.astype(">f4")), 422, "unsupported_dtype", "big-endian"),
    "structured": (npy(np.zeros((2, 6), [("a", "f4")])), 422, "unsupported_dtype", "items are"),
    "object npy": (object_array(), 422, "unsupported_dtype", "object"),
    "object in npz": (archive({"x.npy": object_array()}), 422, "unsupported_dtype", "object"),
    "object ids": (
        archive({"x.npy": npy(X), "ids.npy": npy(np.array(list("abcd"), object), pickled=True)}),
        422,
        "invalid_ids",
        "dtype=object",
    ),
    "pickle": (b"\x80\x04\x95" + b"." * 40, 422, "pickle_refused", "pickle"),
    "text file": (b"hello, this is no array at all", 422, "unknown_format", ".npz"),
    "empty file": (b"", 422, "empty_upload", "empty"),
    "one byte": (b"x", 422, "unknown_format", ".npz"),
    "truncated npz": (GOOD[: len(GOOD) // 2], 422, "truncated_upload", "cut short"),
    "truncated npy": (npy(X)[:-5], 422, "truncated_upload", "cut short"),
    "npy with a tail": (npy(X) + b"tail", 422, "truncated_upload", "longer"),
    "huge shape": (lying_npy("(1000000000, 1000000)"), 413, "pool_too_large", "in parts"),
    "overflowing shape": (lying_npy("(18446744073709551617, 6)"), 422, "invalid_array", "shape"),
    "negative shape": (lying_npy("(-1, 6)"), 422, "invalid_array", "shape"),
    "huge item": (lying_npy("(1, 16000000)"), 413, "item_too_large", "most"),
    "header is code": (lying_npy("__import__('os')"), 422, "invalid_array", "header"),
    "header nests": (lying_npy("(" * 200 + ")" * 200), 422, "invalid_array", "header"),
    "65 dimensions": (lying_npy(str((1,) * 65)), 422, "invalid_array", "32"),
    "product of thousands of digits": (lying_npy(str((2**50,) * 300)), 422, "invalid_array", "32"),
    "no dtype at all": (lying_npy("(1, 6)", descr="', ()), ('"), 422, "invalid_array", "header"),
    "no character": (
        archive({"x.npy": npy(X), "ids.npy": npy(np.array(["a", "b", "c", "d"])).replace(b"d\0\0\0", b"\xff" * 4)}),
        422,
        "invalid_ids",
        "Unicode",
    ),
    "bad header length": (b"\x93NUMPY\x01\x00\xff\xff{}", 422, "invalid_array", "header"),
    "npy version 9": (b"\x93NUMPY\x09\x00" + b"\0" * 60, 422, "invalid_array", "version"),
    "torch.save": (torch_save({"x": torch.zeros(2, 6)}), 422, "unexpected_member", "data.pkl"),
    "zip bomb": (
        archive({"x.npy": npy(np.zeros((100_000, 6), np.float32))}, zipfile.ZIP_DEFLATED),
        413,
        "expands_too_much",
        "uncompressed",
    ),
    "no x": (npz(y=X), 422, "unexpected_member", "y.npy"),
    "extra member": (archive({"x.npy": npy(X), "../evil": b"1"}), 422, "unexpected_member", "../evil"),
    "only ids": (archive({"ids.npy": npy(np.array(["a"]))}), 422, "x_missing", "no array x"),
    "twice in a row": (npz(x=X, ids=np.array(["a", "b", "a", "c"])), 422, "duplicate_id", "'a'"),
    "in the pool already": (npz(x=X, ids=np.array(names(4))), 409, "duplicate_id", "'item-0'"),
    "control character": (npz(x=X, ids=np.array(["a", "b\n", "c", "d"])), 422, "invalid_ids", "item 1"),
    "empty id": (npz(x=X, ids=np.array(["a", "", "c", "d"])), 422, "invalid_ids", "item 1"),
    "too few ids": (npz(x=X, ids=np.array(["a"])), 422, "wrong_shape", "4 items"),
    "long ids": (npz(x=X, ids=np.array(["a" * 600, "b", "c", "d"])), 422, "invalid_ids", "512"),
    "ids not UTF-8": (npz(x=X, ids=np.array([b"\xff", b"b", b"c", b"d"])), 422, "invalid_ids", "not text"),
    "safetensors without x": (safetensors({"y": F4}, b"\0" * 24), 422, "x_missing", "x"),
    "safetensors cut": (safetensors({"x": F4}, b"\0" * 20), 422, "truncated_upload", "truncated"),
    "safetensors tail": (safetensors({"x": F4}, b"\0" * 30), 422, "truncated_upload", "belong to no tensor"),
    "safetensors lies": (safetensors({"x": {**F4, "shape": [2, 6]}}, b"\0" * 24), 422, "invalid_safetensors", "24"),
    "safetensors dtype": (
        safetensors({"x": {"dtype": "BF16", "shape": [1, 6], "data_offsets": [0, 12]}}, b"\0" * 12),
        422,
        "unsupported_dtype",
        "BF16",
    ),
    "safetensors of many dimensions": (
        safetensors({"x": {**F4, "shape": [2**53 - 1] * 60_000}}, b"\0" * 24),
        422,
        "invalid_safetensors",
        "60000 dimensions",
    ),
    "safetensors ids": (
        safetensors({"__metadata__": {"ids": "no"}, "x": F4}, b"\0" * 24),
        422,
        "invalid_ids",
        "JSON",
    ),
}


@pytest.mark.parametrize("name", POOLS)
def test_pool_upload(name: str, shared: Api, ready: Callable[[], None]) -> None:
    data, status, code, words = POOLS[name]
    assert_problem(shared.upload(data), status, code, words)
    ready()


def test_upload_past_the_limit(shared_settings: ServiceSettings, ready: Callable[[], None]) -> None:
    small = shared_settings.model_copy(update={"max_upload_bytes": 1000, "max_body_bytes": 500})
    with TestClient(create_app(small), raise_server_exceptions=False) as client:
        assert_problem(Api(client).upload(npy(vectors(100))), 413, "body_too_large")
        assert_problem(Api(client).post("/label", {"project": "p", "item": "x" * 600}), 413, "body_too_large")
    ready()


MODULE = factories.mlp(6, [16, 8], 3)
STATE = MODULE.state_dict()
broken = factories.mlp(6, [16, 8], 3)
with torch.no_grad():
    broken[1].weight[0, 0] = torch.nan  # type: ignore[index]
HIDDEN = {"hidden": [16, 8]}

CHECKPOINTS: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "missing key": (weights(factories.mlp(6, [16], 3)), {"options": HIDDEN}, "wrong_layout", "3.weight"),
    "extra key": (weights(MODULE), {"options": {"hidden": [16]}}, "wrong_layout", "3.weight"),
    "wrong shape": (weights(factories.mlp(6, [16, 9], 3)), {"options": HIDDEN}, "wrong_layout", "[8, 16]"),
    "other classes": (weights(MODULE), {"options": {**HIDDEN, "classes": 4}}, "wrong_classes", "4 classes"),
    "other inputs": (weights(MODULE), {"options": {**HIDDEN, "in_features": 7}}, "wrong_shape", "[6]"),
    "outputs of other classes": (weights(factories.mlp(6, [16, 8], 5)), {"options": HIDDEN}, "wrong_layout", "5"),
    "unknown architecture": (weights(MODULE), {"architecture": "alexnet"}, "invalid_manifest", "cnn, embedding:linear"),
    "unknown option": (weights(MODULE), {"options": {"depth": 3}}, "invalid_manifest", "takes"),
    "bad option": (weights(MODULE), {"options": {"hidden": [0]}}, "invalid_manifest", "hidden.0"),
    "unknown manifest field": (weights(MODULE), {"options": HIDDEN, "colour": 1}, "invalid_manifest", "colour"),
    "cnn on vectors": (weights(MODULE), {"architecture": "cnn"}, "invalid_manifest", "[6]"),
    "not finite": (weights(broken), {"options": HIDDEN}, "not_finite", "1.weight"),
    "not finite half": (weights(broken, torch.bfloat16), {"options": HIDDEN}, "not_finite", "1.weight"),
    "integers": (weights(MODULE, torch.int32), {"options": HIDDEN}, "unsupported_dtype", "I32"),
    "pickle": (b"\x80\x02}q\x00." + b"\0" * 20, {"options": HIDDEN}, "pickle_refused", "safetensors"),
    "torch.save, damaged": (b"PK\x03\x04" + b"\0" * 40, {"options": HIDDEN}, "truncated_upload", "cut short"),
    "pool as weights": (GOOD, {"options": HIDDEN}, "unknown_format", "state_dict"),
    "truncated": (weights(MODULE)[:-10], {"options": HIDDEN}, "truncated_upload", "truncated"),
    "text": (b"not weights at all, just words in a row", {"options": HIDDEN}, "invalid_safetensors", "header"),
    "kernel option": (weights(MODULE), {"options": HIDDEN, "kernel": {"ridge": -1}}, "invalid_manifest", "ridge"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoint_upload(name: str, shared: Api, ready: Callable[[], None]) -> None:
    data, manifest, code, words = CHECKPOINTS[name]
    assert_problem(shared.checkpoint(data, **manifest), 422, code, words)
    ready()


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"options": {}}'])
def test_manifest_that_is_none(manifest: str, shared: Api, ready: Callable[[], None]) -> None:
    files = {"weights": ("w", weights(MODULE))}
    answer = shared.client.post("/projects/p/checkpoints", files=files, data={"manifest": manifest})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    ready()
