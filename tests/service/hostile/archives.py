"""Hostile `.npz` pools: zips that lie, and pickles in them."""

import io
import struct
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np

from tests.api import archive, npy
from tests.service.hostile import Lot, Member, StateTrap, Trap, deflated, pickled, zipped
from tests.service.hostile.arrays import GOOD, PLAIN, shaped


def objects(content: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([[content]], dtype=object), allow_pickle=True)
    return made.getvalue()


def bomb(size: int) -> bytes:
    return deflated(b"\0" * size)


def nested() -> bytes:
    inner = archive({"x.npy": npy(np.zeros((50_000, 6), np.float32))}, zipfile.ZIP_DEFLATED)
    for _ in range(5):
        inner = archive({"x.npy": inner}, zipfile.ZIP_DEFLATED)
    return inner


def overlapping() -> bytes:
    return zipped(Member(b"x.npy", PLAIN), Member(b"ids.npy", b"", offset=0, compressed=len(PLAIN), size=len(PLAIN)))


def quine() -> bytes:
    """A member that is the whole archive again, by its claimed offset and size."""
    return zipped(Member(b"x.npy", b"", offset=0, compressed=120, size=120))


def zip64(size: int, compressed: int = 0xFFFFFFFF) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    return zipped(Member(b"x.npy", PLAIN, compressed=compressed, size=0xFFFFFFFF, extra=extra))


def big_directory() -> bytes:
    return zipped(*[Member(b"m%06d" % k, b"") for k in range(60_000)], count=60_000)


def many_members() -> bytes:
    return zipped(*[Member(b"m%06d" % k, b"") for k in range(10_000)])


def member_names() -> dict[str, bytes]:
    return {
        "up": b"../x.npy", "far up": b"../../../../etc/passwd", "absolute": b"/x.npy", "drive": b"C:\\x.npy",
        "backslash up": b"..\\x.npy", "device": b"CON", "device 2": b"aux.npy", "NUL": b"x.npy\0.txt", "dot": b".",
        "empty": b"", "folder": b"x.npy/", "blank": b"x.npy ", "case": b"X.NPY", "long": b"x" * 60_000,
        "not UTF-8": b"\xff\xfe.npy", "turned round": "x\u202eypn.exe".encode(), "fullwidth": "ｘ.npy".encode(),
        "home": b"~/.bashrc", "url": b"file:///etc/passwd", "proc": b"/proc/self/mem", "python": b"__init__.py",
    }  # fmt: skip


def pickles(lot: Lot) -> None:
    for protocol in (2, 3, 4, 5):
        lot.add(f"pickle, protocol {protocol}", pickled(protocol), 422, "pickle_refused")
    for protocol in (0, 1):
        lot.add(f"pickle, protocol {protocol}", pickled(protocol), 422, "unknown_format")
    lot.add("pickle with the state of an object", pickled(4, StateTrap()), 422, "pickle_refused")
    lot.add("pickle in a list", pickled(5, [[Trap()], {"x": Trap()}]), 422, "pickle_refused")
    lot.add("pickled object array", objects(Trap()), 422, "unsupported_dtype")
    lot.add("pickled object array in npz", archive({"x.npy": objects(Trap())}), 422, "unsupported_dtype")
    lot.add("pickled ids", archive({"x.npy": PLAIN, "ids.npy": objects(Trap())}), 422, "invalid_ids")
    lot.add("pickle named x.npy", archive({"x.npy": pickled(4)}), 422, "invalid_array")
    lot.add("pickle named ids.npy", archive({"x.npy": PLAIN, "ids.npy": pickled(2)}), 422, "invalid_array")
    lot.add("pickle named x.pkl", archive({"x.pkl": pickled(4)}), 422, "unexpected_member")
    lot.add("structure with an object", shaped("(1,)", "[('a', '|O')]"), 422, "unsupported_dtype")


def archives(lot: Lot) -> None:
    member = Member(b"x.npy", bomb(50 << 20), 8, size=50 << 20, crc=0)
    lot.add("bomb", lambda: zipped(member), 413, "expands_too_much")
    shy = replace(member, data=deflated(PLAIN + b"\0" * (50 << 20)), size=len(PLAIN))
    lot.add("bomb that understates itself", zipped(shy), 422, "truncated_upload")
    both = (Member(b"x.npy", PLAIN), replace(member, name=b"ids.npy"))
    lot.add("bomb in the ids", zipped(*both), 413, "expands_too_much")
    lot.add("bomb in a bomb", nested, 422, "invalid_array")
    lot.add("quine", quine, 422, "invalid_array")
    lot.add("overlapping members", overlapping, 422, "truncated_upload")
    lot.add("member beyond the file", zipped(Member(b"x.npy", PLAIN, offset=2**31)), 422, "truncated_upload")
    lot.add("member in the directory", zipped(Member(b"x.npy", PLAIN, offset=len(PLAIN) + 35)), 422, "truncated_upload")
    lot.add(
        "claims 4 GiB", zipped(Member(b"x.npy", PLAIN, compressed=0xFFFFFFFE, size=0xFFFFFFFE)), 422, "truncated_upload"
    )
    lot.add("claims 2**62 bytes by zip64", zip64(2**62), 422, "truncated_upload")
    lot.add("claims 2**64 - 1 bytes by zip64", zip64(2**64 - 1), 422, "truncated_upload")
    lot.add("zip64 without its field", zipped(Member(b"x.npy", PLAIN, size=0xFFFFFFFF)), 413, "expands_too_much")
    lot.add(
        "zip64 field cut",
        zipped(Member(b"x.npy", PLAIN, size=0xFFFFFFFF, extra=b"\1\0\x10\0abc")),
        422,
        "truncated_upload",
    )
    lot.add("x twice", zipped(Member(b"x.npy", PLAIN), Member(b"x.npy", PLAIN)), 422, "unexpected_member")
    lot.add(
        "x under another name within", zipped(Member(b"x.npy", PLAIN, local_name=b"y.npy")), 422, "truncated_upload"
    )
    lot.add("wrong checksum", zipped(Member(b"x.npy", PLAIN, crc=1)), 422, "truncated_upload")
    lot.add("encrypted", zipped(Member(b"x.npy", PLAIN, flags=1)), 422, "unsupported_archive")
    for method, label in ((1, "shrink"), (9, "deflate64"), (12, "bzip2"), (14, "lzma"), (93, "zstd"), (99, "aes")):
        lot.add(f"compressed by {label}", zipped(Member(b"x.npy", PLAIN, method)), 422, "unsupported_archive")
    lot.add("deflate that is none", zipped(Member(b"x.npy", b"\xff" * 500, 8, size=500)), 422, "truncated_upload")
    lot.add("deflate cut", zipped(Member(b"x.npy", deflated(PLAIN)[:-20], 8, size=len(PLAIN))), 422, "truncated_upload")
    lot.add("link", zipped(Member(b"x.npy", b"/etc/passwd", attributes=0o120777 << 16)), 422, "invalid_array")
    lot.add(
        "link beside x",
        zipped(Member(b"x.npy", PLAIN), Member(b"l", b"/etc", attributes=0o120777 << 16)),
        422,
        "unexpected_member",
    )
    lot.add("directory of 6 MB", big_directory, 422, "unexpected_member")
    lot.add("10,000 members", many_members, 422, "unexpected_member")
    lot.add("directory lies elsewhere", zipped(Member(b"x.npy", PLAIN), directory_at=0), 422, "truncated_upload")
    lot.add("directory lies beyond", zipped(Member(b"x.npy", PLAIN), directory_at=2**32 - 2), 422, "truncated_upload")
    lot.add("only the end of a zip", b"PK\x05\x06" + b"\0" * 18, 422, "unknown_format")
    lot.add("empty zip", b"PK\x03\x04" + b"\0" * 30 + b"PK\x05\x06" + b"\0" * 18, 422, "x_missing")
    lot.add("spanned zip", b"PK\x07\x08" + GOOD, 422, "unknown_format")
    for label, name in member_names().items():
        lot.add(f"member named: {label}", zipped(Member(b"x.npy", PLAIN), Member(name, b"")), 422, "unexpected_member")
