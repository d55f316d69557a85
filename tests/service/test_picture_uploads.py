"""Archives of pictures as pools: what the network gets, and what people see."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from service.decoding.order import RefusedError
from service.settings import ServiceSettings
from store.artifacts import Artifacts
from store.database import Sessions
from tests.api import Api, archive, assert_problem, npy
from tests.decoders import decode
from tests.pictures import encoded, noise, pixels, zipped
from tests.service.test_pool import Stored

GRADIENT = np.linspace(0, 255, 8 * 8).reshape(8, 8).astype(np.uint8)
COLOURS = np.stack([GRADIENT, GRADIENT.T, 255 - GRADIENT], axis=2)


@pytest.fixture
def stored(sessions: Sessions, settings: ServiceSettings) -> Stored:
    return Stored(sessions, Artifacts(settings.artifacts_url))


def taken(api: Api, data: bytes, **fields: str) -> dict[str, Any]:
    answer = api.upload(data, file="pool.zip", **fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def shown(api: Api, item: str, size: int = 16) -> npt.NDArray[Any]:
    answer = api.get("/projects/p/image", item=item, size=size)
    assert answer.status_code == 200, answer.text
    return pixels(answer.content)


def as_colours(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.rint(values * 255).transpose(1, 2, 0))


def test_ids_are_paths_and_litter_is_passed_over(api: Api, stored: Stored) -> None:
    api.project()
    picture = encoded(COLOURS)
    data = archive(
        {"cats/": b"", "cats/ä 1.png": picture, "./dogs/2.PNG": picture, "__MACOSX/cats/._1.png": b"no picture",
         ".DS_Store": b"x", "cats/.hidden/3.png": b"x", "Thumbs.db": b"x", "no suffix": picture}
    )  # fmt: skip
    answer = taken(api, data, image_size="8")
    assert (answer["added"], answer["input_shape"]) == (3, [3, 8, 8])
    listed = [item["item"] for item in api.get("/projects/p/items").json()["items"]]
    assert listed == ["cats/ä 1.png", "dogs/2.PNG", "no suffix"]
    assert np.array_equal(as_colours(stored.inputs(1)[0]), COLOURS)
    assert stored.dtypes() == ["float32"]
    (content,) = api.get("/projects/p/contents", items="cats/ä 1.png").json()["contents"]
    assert (content["kind"], content["length"]) == ("image", 192)
    again = api.client.get(content["image"] + "&size=16")
    fours = pixels(again.content).reshape(8, 2, 8, 2, 3)  # enlarged
    assert np.abs(fours.mean(axis=(1, 3)) - COLOURS).max() < 16


# More than half of what is asked for below: not enlarged.
AS_THEY_ARE = np.random.default_rng(3).integers(0, 256, (12, 12, 3)).astype(np.uint8)
LOSSLESS: dict[str, bytes] = {
    "PNG": encoded(AS_THEY_ARE),
    "WebP": encoded(AS_THEY_ARE, "WEBP", lossless=True),
    "BMP": encoded(AS_THEY_ARE, "BMP"),
    "TIFF": encoded(AS_THEY_ARE, "TIFF"),
    "TIFF, compressed": encoded(AS_THEY_ARE, "TIFF", compression="tiff_lzw"),
    "opaque PNG": encoded(np.dstack([AS_THEY_ARE, np.full((12, 12), 255)])),
}


def test_formats(api: Api, stored: Stored) -> None:
    api.project()
    taken(api, archive(LOSSLESS), image_size="12")
    for place, kind in enumerate(LOSSLESS):
        assert np.array_equal(as_colours(stored.inputs(place)[0]), AS_THEY_ARE), kind
        assert np.array_equal(shown(api, kind), AS_THEY_ARE), kind


def two_frames() -> bytes:
    first, second = (Image.new("P", (8, 8), index) for index in (1, 2))
    for image in (first, second):
        image.putpalette([0, 0, 0, 200, 100, 50, 9, 9, 9])
    made = io.BytesIO()
    first.save(made, "GIF", save_all=True, append_images=[second])
    return made.getvalue()


def see_through() -> bytes:
    return encoded(np.dstack([np.zeros((8, 8, 3)), np.full((8, 8), 51)]))


def palette_with_a_hole() -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, transparency=1)


FLAT: dict[str, tuple[bytes, list[int]]] = {
    "GIF, its first frame": (two_frames(), [200, 100, 50]),
    "see-through, on white": (see_through(), [204, 204, 204]),
    "hole in a palette": (palette_with_a_hole(), [255, 255, 255]),
    "one bit": (encoded(Image.new("1", (8, 8), 1)), [255, 255, 255]),
    "grey with alpha": (encoded(Image.new("LA", (8, 8), (0, 51))), [204, 204, 204]),
    "sixteen bits": (encoded(Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))), [100, 100, 100]),
    "ink": (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), [255, 0, 0]),
    "JPEG": (encoded(Image.new("RGB", (8, 8), (60, 60, 60)), "JPEG"), [60, 60, 60]),
}


def test_modes_become_colours(api: Api, stored: Stored) -> None:
    api.project()
    taken(api, archive({kind: data for kind, (data, _) in FLAT.items()}), image_size="4")
    for place, (kind, (_, colour)) in enumerate(FLAT.items()):
        assert np.array_equal(as_colours(stored.inputs(place)[0]), np.broadcast_to(colour, (4, 4, 3))), kind
        seen = shown(api, kind)
        in_colour = seen if seen.ndim == 3 else np.dstack([seen] * 3)
        assert in_colour.shape == (16, 16, 3), kind
        assert np.abs(in_colour.astype(int) - colour).max() <= 2, kind  # enlarged ones are JPEG


def turned(kind: str, orientation: int) -> bytes:
    half = np.zeros((16, 32, 3), np.uint8)
    half[:, :16] = 255  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(half, kind, exif=exif)


def test_upright_by_exif(api: Api, stored: Stored) -> None:
    cases = [(kind, orientation) for kind in ("JPEG", "PNG", "TIFF", "WEBP") for orientation in (1, 3, 6, 8)]
    broken = encoded(np.full((16, 32, 3), 9), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\1\2\3")
    api.project()
    members = {f"{kind}-{orientation}": turned(kind, orientation) for kind, orientation in cases}
    taken(api, archive({**members, "unreadable": broken}), image_size="16")
    for place, (kind, orientation) in enumerate(cases):
        values = stored.inputs(place)[0, 0]
        sides = {"left": values[:, :4], "right": values[:, -4:], "top": values[:4], "bottom": values[-4:]}
        brightest = max(sides, key=lambda side: float(sides[side].mean()))
        assert brightest == {1: "left", 3: "right", 6: "top", 8: "bottom"}[orientation], kind
        seen = shown(api, f"{kind}-{orientation}", 32)
        assert seen.shape[:2] == ((32, 16) if orientation in {6, 8} else (16, 32)), kind


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (8, 8), (8, 8, 3), (8, 8, 1)])
def test_the_pool_says_what_pictures_become(shape: tuple[int, ...]) -> None:
    data = zipped(a=encoded(GRADIENT))
    values = decode(data, shape=list(shape)).x[0]
    assert values.shape == shape
    in_front = values if shape == (3, 8, 8) else values.reshape(8, 8, -1).transpose(2, 0, 1)
    for channel in in_front:
        assert np.array_equal(np.rint(channel * 255), GRADIENT)
    with pytest.raises(RefusedError, match="leave image_size out"):
        decode(data, shape=list(shape), image_size=16)


def test_pictures_join_a_pool_of_arrays(api: Api, stored: Stored) -> None:
    api.project()
    api.upload(npy(np.zeros((1, 8, 8), np.float32)))
    assert taken(api, zipped(a=encoded(GRADIENT)))["input_shape"] == [8, 8]
    assert np.array_equal(np.rint(stored.inputs(1)[0] * 255), GRADIENT)


def test_pools_of_something_else_take_no_pictures(shared: Api, ready: Callable[[], None]) -> None:
    assert_problem(shared.upload(zipped(a=encoded(COLOURS))), 422, "wrong_shape", "[6]", "arrays")
    ready()


def test_sizes(api: Api, stored: Stored) -> None:
    """By default 32 pixels for the network; 512 at most are kept for people, the sides in proportion."""
    api.project()
    wide = noise(600, 1200)
    assert taken(api, zipped(wide=encoded(wide), small=encoded(COLOURS)))["input_shape"] == [3, 32, 32]
    assert abs(float(stored.inputs(0).mean()) - 0.5) < 0.02
    assert float(stored.inputs(0).std()) < 0.1  # averaged, not picked
    answer = api.get("/projects/p/image", item="wide.png", size=512)
    assert (answer.headers["content-type"], pixels(answer.content).shape) == ("image/jpeg", (256, 512, 3))
    assert pixels(api.get("/projects/p/image", item="wide.png").content).shape == (48, 96, 3)
    medium = api.upload(zipped(medium=encoded(noise(20, 20))), file="pool.zip")
    assert medium.status_code == 201, medium.text
    for size, kind, side in ((39, "png", 20), (40, "jpeg", 40)):  # enlarged where that at least doubles it
        answer = api.get("/projects/p/image", item="medium.png", size=size)
        assert answer.headers["content-type"] == f"image/{kind}"
        assert pixels(answer.content).shape == (side, side, 3)


def test_nothing_of_the_file_is_served(api: Api, tmp_path: Path) -> None:
    """Neither what hides in a picture's metadata nor behind its end."""
    api.project()
    secret = b"<script>alert(1)</script>"
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    members = {
        "a.jpg": encoded(noise(200, 200), "JPEG", exif=exif, comment=secret) + secret,
        "b.png": encoded(COLOURS, exif=exif, icc_profile=secret) + secret,
        "c.webp": encoded(COLOURS, "WEBP", exif=exif, icc_profile=secret),
    }
    taken(api, archive(members))
    for name in members:
        assert secret not in api.get("/projects/p/image", item=name, size=512).content
    for blob in (tmp_path / "artifacts").rglob("*"):
        assert not blob.is_file() or secret not in blob.read_bytes()


def test_held_out_and_sent_again(api: Api, tmp_path: Path) -> None:
    """As with every format: ids are distinct, a key makes a request one, and what was lost is put back."""
    api.project()
    data = zipped(**{f"{k}": encoded(noise(9, 9, k)) for k in range(5)})
    sent = {"files": {"file": ("x.zip", data)}, "data": {"held_out": "true", "image_size": "8"}}
    key = {"Idempotency-Key": "k"}
    first = api.client.post("/projects/p/pool", headers=key, **sent)  # type: ignore[arg-type]
    assert first.status_code == 201
    assert {item["state"] for item in api.get("/projects/p/items").json()["items"]} == {"held_out"}
    again = api.client.post("/projects/p/pool", headers=key, **sent)  # type: ignore[arg-type]
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    other = {**sent, "data": {"held_out": "true", "image_size": "16"}}
    answer = api.client.post("/projects/p/pool", headers=key, **other)  # type: ignore[arg-type]
    assert_problem(answer, 409, "idempotency_conflict")
    assert_problem(api.upload(data), 409, "duplicate_id", "'0.png'")
    kept = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert len(kept) == 2  # numbers, and pictures
    before = shown(api, "3.png")
    for lost in kept:
        lost.unlink()
        restored = api.upload(data, image_size="8", held_out="true")
        assert (restored.status_code, restored.json()["added"]) == (201, 0)
        assert np.array_equal(shown(api, "3.png"), before)
