"""Folders and columns of pictures: what they are called, how they are labeled, how they are sent."""

import io
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from client.sources.choose import as_source
from client.sources.packing import packed
from client.sources.parts import Part, SourceError
from client.sources.pictures import prepared, read_folder


def picture(path: Path, size: tuple[int, int] = (20, 10), mode: str = "RGB", **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = {"RGB": (200, 30, 40), "RGBA": (200, 30, 40, 0), "L": 7}[mode]
    Image.new(mode, size, colour).save(path, **how)  # type: ignore[arg-type]
    return path


def all_of(parts: list[Part]) -> dict[str, bytes]:
    return {i: p for part in parts for i, p in zip(part.ids or (), part.pictures or (), strict=True)}


def test_folders_are_classes(tmp_path: Path) -> None:
    for name in ("cats/b.png", "cats/a.jpg", "dogs/deep/c.png"):
        picture(tmp_path / name)
    (tmp_path / "cats" / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    source = read_folder(tmp_path)
    (part,) = source.parts()
    assert part.ids == ["cats/a.jpg", "cats/b.png", "dogs/deep/c.png"]
    assert part.labels == ["cats", "cats", "dogs"]
    assert source.classes is not None
    assert source.classes() == ["cats", "dogs"]
    assert source.said[-1] == "Left out: 1 files that are no pictures."


def test_a_flat_folder_has_no_labels_and_an_empty_one_is_a_mistake(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    source = as_source(str(tmp_path))
    assert source.classes is None
    (part,) = source.parts()
    assert part.labels is None
    with pytest.raises(SourceError, match="no pictures"):
        read_folder(picture(tmp_path / "empty" / "a.png").parent.parent / "none")


def test_small_ones_go_as_they_are_and_others_as_browsers_know_them(tmp_path: Path) -> None:
    small = picture(tmp_path / "small.jpg", quality=50)
    assert prepared(small, "") == small.read_bytes()
    large = Image.open(io.BytesIO(prepared(picture(tmp_path / "large.jpg", (2000, 1000)), "")))
    assert (large.size, large.format) == ((512, 256), "JPEG")
    clear = Image.open(io.BytesIO(prepared(picture(tmp_path / "clear.webp", mode="RGBA"), "")))
    assert (clear.format, clear.getpixel((0, 0))) == ("PNG", (255, 255, 255))
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = Image.open(io.BytesIO(prepared(picture(tmp_path / "turned.jpg", exif=turned), "")))
    assert upright.size == (10, 20)
    assert Image.open(io.BytesIO(prepared(picture(tmp_path / "grey.bmp", mode="L"), ""))).mode == "L"


def test_broken_ones_are_named(tmp_path: Path) -> None:
    whole = picture(tmp_path / "a.png", (300, 300)).read_bytes()
    for name, content in (("b.png", b"not a picture"), ("c.png", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=rf"{name}: .*take it out of the folder"):
            list(read_folder(tmp_path).parts())
        (tmp_path / name).unlink()


def test_the_zip_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "a.png")
    picture(tmp_path / "y" / "b.jpg")
    (part,) = read_folder(tmp_path).parts()
    name, file = packed(part, list(part.ids or ()))
    assert name == "pool.zip"
    assert file.read() == packed(part, list(part.ids or ()))[1].read()
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["x/a.png", "y/b.jpg"]
        assert archive.read("x/a.png") == (tmp_path / "x" / "a.png").read_bytes()


def test_an_embedding_of_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", mode="L")
    source = read_folder(
        tmp_path, embed=lambda images: np.array([[*image.size, *image.getpixel((0, 0))] for image in images])
    )
    (part,) = source.parts()
    assert part.pictures is None
    assert part.x is not None
    assert part.x.tolist() == [[20, 10, 7, 7, 7]]


def test_pictures_of_a_hugging_face_dataset() -> None:
    images = [Image.new("RGB", (8, 8), (k, 0, 0)) for k in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    data = datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0]}, features=features)
    (part,) = as_source(data).parts()
    assert part.labels == ["a", "b", "a"]
    assert [Image.open(io.BytesIO(p)).getpixel((0, 0)) for p in part.pictures or ()] == [(k, 0, 0) for k in range(3)]
