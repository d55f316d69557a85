"""Hostile files, made by code: by name, what makes one, and the problem it must be refused with."""

import os
import pickle
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANARY = Path(tempfile.gettempdir()) / f"lookahead-canary-{os.getpid()}"


@dataclass(frozen=True)
class Hostile:
    """One file and how it must be refused."""

    make: Callable[[], bytes]
    status: int
    code: str


class Lot(dict[str, Hostile]):
    """Hostile files by name."""

    def add(self, name: str, make: Callable[[], bytes] | bytes, status: int, code: str) -> None:
        assert name not in self
        self[name] = Hostile(make if callable(make) else lambda: make, status, code)


class Trap:
    """Unpickling one leaves the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {CANARY}",)


class StateTrap:
    """The same by way of an object's state."""

    def __getstate__(self) -> Any:
        return {"x": Trap()}


def pickled(protocol: int, content: Any = None) -> bytes:
    return pickle.dumps(Trap() if content is None else content, protocol=protocol)


@dataclass(frozen=True)
class Member:
    """A zip member whose local header and directory entry say what they are told to."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    compressed: int | None = None  # as claimed
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    extra: bytes = b""
    attributes: int = 0
    offset: int | None = None  # of its local header, as claimed


def deflated(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


def zipped(*members: Member, count: int | None = None, directory_at: int | None = None, tail: bytes = b"") -> bytes:
    """A zip written by hand, lies and all."""
    body, directory = bytearray(), bytearray()
    for member in members:
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        compressed = len(member.data) if member.compressed is None else member.compressed
        size = len(member.data) if member.size is None else member.size
        name = member.name if member.local_name is None else member.local_name
        common = struct.pack("<HHHHIII", member.flags, member.method, 0, 33, crc, compressed, size)
        at = len(body) if member.offset is None else member.offset
        body += b"PK\x03\x04\x14\x00" + common + struct.pack("<HH", len(name), 0) + name + member.data
        directory += (
            b"PK\x01\x02\x14\x00\x14\x00"
            + common
            + struct.pack("<HHHHHII", len(member.name), len(member.extra), 0, 0, 0, member.attributes, at)
            + member.name
            + member.extra
        )
    entries = len(members) if count is None else count
    start = len(body) if directory_at is None else directory_at
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, entries, entries, len(directory), start, len(tail)) + tail
    return bytes(body + directory) + end
