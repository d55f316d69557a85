"""Archives of pictures that are damaged, too large, or made to do harm; and what confines their decoder."""

import errno
import json
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.app import create_app
from service.decoding.order import RefusedError
from service.problems import InvalidError
from service.settings import ServiceSettings
from service.uploads.decoded import environment
from service.uploads.texts import checked_ids
from tests.api import Api, archive, assert_problem, npz, vectors
from tests.decoders import ORDER, decode
from tests.pictures import encoded, noise, zipped
from tests.service.hostile import Member, deflated
from tests.service.hostile import zipped as zipped_by_hand

COLOURS = noise(8, 8)


def taken(api: Api, data: bytes, **fields: str) -> dict[str, Any]:
    answer = api.upload(data, file="pool.zip", **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def blank_png(width: int, height: int, rows: int | None = None) -> bytes:
    """As small as a picture of that size can be: all but nothing per pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    line = bytes(1 + (width + 7) // 8)
    body = zlib.compress(line * (height if rows is None else rows), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def nested() -> bytes:
    return archive({"a.png": zipped(a=encoded(COLOURS))})


def bomb_that_understates_itself() -> bytes:
    data = deflated(encoded(COLOURS) + bytes(200 << 20))
    return zipped_by_hand(Member(b"a.png", data, 8, size=len(encoded(COLOURS))))


def one(name: str, data: bytes) -> bytes:
    return archive({"fine.png": encoded(COLOURS), name: data})


WHOLE = {kind: encoded(noise(40, 40), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")}
BAD: dict[str, tuple[Callable[[], bytes], int, str, tuple[str, ...]]] = {
    **{
        f"{kind} cut short": (
            partial(one, "cut.png", data[: len(data) // 2]), 422, "broken_picture", ("cut.png",),
        )
        for kind, data in WHOLE.items()
    },
    "only a signature": (lambda: one("b.png", b"\x89PNG\r\n\x1a\n"), 422, "broken_picture", ("b.png",)),
    "empty member": (lambda: one("b.png", b""), 422, "unexpected_member", ("b.png", "first bytes")),
    "text": (lambda: one("notes.txt", b"hello"), 422, "unexpected_member", ("notes.txt", "pictures")),
    "SVG": (lambda: one("a.svg", b"<svg onload='x'/>"), 422, "unexpected_member", ("a.svg",)),
    "SVG called PNG": (lambda: one("a.png", b"<svg onload='x'/>"), 422, "unexpected_member", ("a.png",)),
    "page called JPEG": (lambda: one("a.jpg", b"<html><script>"), 422, "unexpected_member", ("a.jpg",)),
    "PostScript called PNG": (lambda: one("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), 422, "unexpected_member", ()),
    "archive in the archive": (nested, 422, "unexpected_member", ("a.png", "archive itself")),
    "pickle": (lambda: one("a.png", b"\x80\x04."), 422, "unexpected_member", ()),
    "up": (lambda: one("../a.png", WHOLE["PNG"]), 422, "unexpected_member", ("leads out",)),
    "up from within": (lambda: one("a/../../b.png", WHOLE["PNG"]), 422, "unexpected_member", ("leads out",)),
    "absolute": (lambda: one("/etc/a.png", WHOLE["PNG"]), 422, "unexpected_member", ("leads out",)),
    "drive": (lambda: one("C:/a.png", WHOLE["PNG"]), 422, "unexpected_member", ("leads out",)),
    "backslash": (lambda: one("..\\a.png", WHOLE["PNG"]), 422, "unexpected_member", ("leads out",)),
    "same path twice": (lambda: one("./fine.png", WHOLE["PNG"]), 422, "duplicate_id", ("fine.png",)),
    "control character": (lambda: one("a\n.png", WHOLE["PNG"]), 422, "invalid_ids", ()),
    "long path": (lambda: one("a" * 600, WHOLE["PNG"]), 422, "invalid_ids", ("512",)),
    "nothing but litter": (lambda: archive({".a.png": b"", "__MACOSX/x": b""}), 422, "x_missing", ("no picture",)),
    "2.5 gigapixels": (lambda: one("b.png", blank_png(50_000, 50_000, 10)), 413, "picture_too_large", ("b.png",)),
    "just too many pixels": (lambda: one("b.png", blank_png(10_000, 5_001)), 413, "picture_too_large", ("50000000",)),
    "2**31 pixels a side": (lambda: one("b.png", blank_png(2**31 - 1, 2**31 - 1, 0)), 413, "picture_too_large", ()),
    "expands": (
        lambda: archive({"a.bmp": encoded(np.zeros((1000, 1000, 3)), "BMP")}, zipfile.ZIP_DEFLATED),
        413, "expands_too_much", ("a.bmp", "zip -0"),
    ),
    "understates itself": (bomb_that_understates_itself, 422, "truncated_upload", ("a.png",)),
    "claims 2 GB": (
        lambda: zipped_by_hand(Member(b"a.png", WHOLE["PNG"], size=2**31, compressed=2**31)),
        413, "picture_too_large", ("a.png",),
    ),
    "encrypted": (lambda: zipped_by_hand(Member(b"a.png", WHOLE["PNG"], flags=1)), 422, "unsupported_archive", ()),
    "bzip2": (lambda: zipped_by_hand(Member(b"a.png", WHOLE["PNG"], 12)), 422, "unsupported_archive", ()),
    "link": (
        lambda: zipped_by_hand(Member(b"a.png", b"/etc/passwd", attributes=0o120777 << 16)),
        422, "unexpected_member", (),
    ),
    "65,000 members": (
        lambda: zipped_by_hand(*[Member(b"%d" % k, b"") for k in range(65_000)], count=65_000),
        422, "unexpected_member", ("'0'",),
    ),
    "250,000 members": (
        lambda: zipped_by_hand(*[Member(b"%d" % k, b"") for k in range(250_000)], count=0),
        413, "pool_too_large", ("200000",),
    ),
    "32-bit numbers": (
        lambda: one("f.tif", encoded(Image.new("F", (8, 8)), "TIFF")), 422, "broken_picture", ("f.tif", "32-bit"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    made, status, code, words = BAD[name]
    with pytest.raises(RefusedError) as caught:
        decoded_with_ids(made())
    assert (caught.value.status, caught.value.code) == (status, code), caught.value
    for word in words:
        assert word in caught.value.detail


def decoded_with_ids(data: bytes) -> None:
    """As the service does with what the decoder found."""
    found = decode(data).decoded
    try:
        checked_ids(found.ids or [])
    except InvalidError as error:
        raise RefusedError(error.code, error.detail) from error


@pytest.mark.parametrize(
    "name", ["PNG cut short", "SVG called PNG", "up", "2.5 gigapixels", "understates itself", "65,000 members",
             "250,000 members", "long path"]
)  # fmt: skip
def test_refused_by_the_service(name: str, shared: Api) -> None:
    made, status, code, words = BAD[name]
    project = f"p{list(BAD).index(name)}"
    shared.project(project)
    data = made()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_problem(shared.upload(data, project, "x.zip"), status, code, *words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10
    assert shared.get(f"/projects/{project}").json()["items"] == 0


def test_fields_that_go_with_other_files(api: Api) -> None:
    api.project()
    assert_problem(api.upload(npz(x=vectors(3)), image_size="8"), 422, "invalid_request", "image_size")
    assert_problem(api.upload(npz(x=vectors(3)), attributes="true"), 422, "invalid_request", "attributes")
    for size in ("3", "1025", "x"):
        assert_problem(api.upload(zipped(a=encoded(COLOURS)), image_size=size), 422, "invalid_request", "image_size")


def test_limits() -> None:
    small = encoded(COLOURS)
    for refused, code, limits in (
        (zipped(a=encoded(noise(40, 40))), "picture_too_large", {"max_pixels": 1000}),
        (zipped(a=small), "pool_too_large", {"max_bytes": 100_000, "image_size": 100}),
        (archive({str(k): small for k in range(21)}), "pool_too_large", {"max_items": 20}),
        (
            archive({"a": encoded(noise(90, 90)), "b": encoded(noise(90, 90))}),
            "expands_too_much",
            {"max_bytes": 40_000},
        ),
    ):
        with pytest.raises(RefusedError) as caught:
            decode(refused, **limits)
        assert (caught.value.status, caught.value.code) == (413, code)


def test_pillows_guard_is_as_it_was() -> None:
    """It is one for the process, so a limit that stayed would refuse other people's pictures."""
    before = Image.MAX_IMAGE_PIXELS
    decode(zipped(a=encoded(noise(20, 20))), max_pixels=1000)
    with pytest.raises(RefusedError):
        decode(zipped(a=encoded(noise(40, 40))), max_pixels=1000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_pixels_are_paid_for_with_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blank pictures are small files, and take as long as photographs."""
    monkeypatch.setattr("service.decoding.pictures._PIXELS_FREE", 1000)
    with pytest.raises(RefusedError, match="too many for an archive of") as caught:
        decode(archive({str(k): blank_png(3000, 3000) for k in range(3)}), max_expansion=1000)
    assert (caught.value.status, caught.value.code) == (413, "expands_too_much")


def test_memory_is_that_of_one_picture(settings: ServiceSettings, api: Api) -> None:
    """Of the service nothing; of the decoder what one picture takes, however many there are."""
    api.project()
    big = blank_png(7000, 7000)  # 49 MB each while it is decoded
    little = settings.model_copy(update={"max_decoder_bytes": 512 << 20})
    with TestClient(create_app(little), raise_server_exceptions=False) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken(Api(client), archive({f"{k}.png": big for k in range(4)}), image_size="4")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_decoder_has_only_so_much_memory(settings: ServiceSettings, api: Api) -> None:
    api.project()
    limits = {"max_decoder_bytes": 512 << 20, "max_picture_pixels": 400_000_000}
    with TestClient(create_app(settings.model_copy(update=limits)), raise_server_exceptions=False) as client:
        hungry = zipped(a=blank_png(20_000, 18_000))
        assert_problem(Api(client).upload(hungry), 413, "expands_too_much", "memory")
        assert Api(client).upload(zipped(a=encoded(COLOURS))).status_code == 201


def test_a_full_disk_is_said_to_be_full() -> None:
    with Path("/dev/full").open("r+b", buffering=0) as full, tempfile.TemporaryFile() as file:
        file.write(zipped(a=encoded(noise(600, 600))))
        order = replace(ORDER, size=1 << 20, image_size=512, array=full.fileno(), contents=full.fileno(),
                        lines=full.fileno())  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "service.decoding", json.dumps(asdict(order))],
            stdin=file, pass_fds=(full.fileno(),), capture_output=True, check=True,
        )  # fmt: skip
    assert json.loads(done.stdout) == {"failed": errno.ENOSPC}


def test_decoders_know_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")
    assert "secret" not in str(environment())


def test_a_decoder_that_crashes_takes_nothing_with_it(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.project()
    crashing = tmp_path / "python"
    for last, status, code in (("kill -SEGV $$", 422, "undecodable_upload"), ("exit 3", 500, "internal_error")):
        crashing.write_text(f"#!/bin/sh\n{last}\n")
        crashing.chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setattr("sys.executable", str(crashing))
            assert_problem(api.upload(zipped(a=encoded(COLOURS))), status, code)
    assert api.upload(zipped(a=encoded(COLOURS))).status_code == 201
