"""The members of a zip archive of pictures, listed and read within limits."""

import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, TypeVar, cast

from service.decoding.order import Order, RefusedError

PICTURES = "PNG, JPEG, WebP, GIF, BMP or TIFF"
MEMBERS_MAX = 200_000
_DIRECTORY_MAX = 64 << 20
_ENTRY = b"PK\x01\x02"
_PICTURE_BYTES_MAX = 64 << 20
_PIECE = 64 << 10
_LITTER = {"__macosx", "thumbs.db", "desktop.ini"}
_DRIVE = re.compile(r"[A-Za-z]:")
_SUFFIXES = {"png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "dib", "tif", "tiff"}
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM",
               b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # fmt: skip
# What the library raises for archives that are damaged, or made to look so.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, UnicodeError, ValueError)
T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """One picture: its path is its item's id."""

    name: str
    entry: zipfile.ZipInfo


class Pictures:
    """The pictures of an archive, in its order. Raises RefusedError."""

    def __init__(self, file: BinaryIO, order: Order) -> None:
        self._order = order
        self._archive = _whole("the archive", lambda: zipfile.ZipFile(cast(BinaryIO, _Bounded(file))))
        self.members = self._checked()

    def data(self, member: Member, most: int | None = None) -> bytes:
        """The bytes of a picture, or the first of them. Raises RefusedError."""
        return _whole(f"the archive's member {member.name[:200]!r}", lambda: self._read(member.entry, most))

    def _read(self, entry: zipfile.ZipInfo, most: int | None) -> bytes:
        # In pieces: asked for all of it, the module would decompress more than the member is said to have.
        found = bytearray()
        with self._archive.open(entry) as stream:
            while (most is None or len(found) < most) and (piece := stream.read(_PIECE if most is None else most)):
                found += piece
        return bytes(found)

    def _checked(self) -> list[Member]:
        found: dict[str, Member] = {}
        total = 0
        for entry in self._archive.infolist():
            parts = [part for part in entry.filename.split("/") if part not in {"", "."}]
            if _leads_out(entry.filename, parts):
                raise RefusedError(
                    "unexpected_member", f"the archive's member {entry.filename[:200]!r} leads out of the archive"
                )
            if entry.is_dir() or any(part.startswith(".") or part.lower() in _LITTER for part in parts):
                continue
            name = "/".join(parts)
            if name in found:
                raise RefusedError("duplicate_id", f"the archive has two members {name[:200]!r}: ids must be distinct")
            self._check_entry(name, entry)
            total += entry.file_size
            if total > self._order.max_bytes:
                raise RefusedError(
                    "expands_too_much",
                    f"the archive's pictures come to more than {self._order.max_bytes} bytes: send it in parts",
                    413,
                )
            found[name] = Member(name, entry)
        if not found:
            raise RefusedError("x_missing", f"the archive holds no array x and no picture ({PICTURES})")
        self._check_kinds(list(found.values()))
        return list(found.values())

    def _check_entry(self, name: str, entry: zipfile.ZipInfo) -> None:
        if entry.flag_bits & 1 or entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise RefusedError(
                "unsupported_archive", f"{name[:200]!r} is encrypted, or compressed by something else than deflate"
            )
        if entry.file_size > _PICTURE_BYTES_MAX:
            raise RefusedError(
                "picture_too_large",
                f"{name[:200]!r} has {entry.file_size} bytes; {_PICTURE_BYTES_MAX} is the most for a picture",
                413,
            )
        if entry.file_size > self._order.max_expansion * max(entry.compress_size, 1):
            raise RefusedError(
                "expands_too_much",
                f"{name[:200]!r} would expand {entry.file_size // max(entry.compress_size, 1)} times, and "
                f"{self._order.max_expansion} times is the most: pack pictures uncompressed (zip -0)",
                413,
            )

    def _check_kinds(self, members: list[Member]) -> None:
        """Told before anything is decoded: what is no picture by its name is most likely none."""
        for member in members:
            if member.name.rpartition(".")[2].lower() not in _SUFFIXES:
                check_signature(member.name, self.data(member, 16))


def check_signature(name: str, data: bytes) -> None:
    """Raise RefusedError unless a file begins like a picture of a kind that is taken."""
    if data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return
    what = "is an archive itself" if data.startswith(b"PK") else f"is no picture by its first bytes ({PICTURES})"
    raise RefusedError(
        "unexpected_member",
        f"the archive's member {name[:200]!r} {what}: a .zip holds pictures and nothing else, or it is an .npz with x",
    )


def _leads_out(name: str, parts: list[str]) -> bool:
    return name.startswith("/") or "\\" in name or ".." in parts or _DRIVE.match(name) is not None or not parts


class _Bounded:
    """The file, its directory refused when it is longer than any archive's that is taken."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        """As the file does. Raises RefusedError `pool_too_large`."""
        most = _DIRECTORY_MAX + 1
        block = self._file.read(most if size < 0 else min(size, most))
        # Each entry costs some hundred bytes of memory once it is listed.
        if len(block) == most or block.count(_ENTRY) > MEMBERS_MAX:
            raise RefusedError(
                "pool_too_large",
                f"the archive's directory has more than {MEMBERS_MAX} members or {_DIRECTORY_MAX} bytes: "
                "send it in parts",
                413,
            )
        return block


def _whole(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except DAMAGED as error:
        raise RefusedError("truncated_upload", f"{what} is damaged or cut short: {str(error)[:200]}") from error
