"""Loaders of published image sets: tiny files written here in each format, read back exactly or refused."""

import gzip
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.io import savemat

from benchmarks.data.base import Dataset
from benchmarks.data.folders import caltech101, load

Bytes = npt.NDArray[np.uint8]
CIFAR10 = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


def pixels(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def check(data: Dataset, images: Bytes, labels: list[int]) -> None:
    """The same images, entry by entry, and the same classes."""
    assert data.x.dtype == np.float32
    assert data.x.flags.c_contiguous
    assert data.x.shape == images.shape
    assert np.array_equal(data.x, images.astype(np.float32) / np.float32(255))
    assert data.y.tolist() == labels


def idx(magic: int, array: Bytes) -> bytes:
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(folder: Path, mark: str = "-") -> tuple[Bytes, list[int]]:
    images = pixels(7, 28, 28)
    labels = [3, 0, 9, 1, 4, 4, 2]
    for part, rows in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        (folder / f"{part}-images{mark}idx3-ubyte").write_bytes(idx(2051, images[rows]))
        (folder / f"{part}-labels{mark}idx1-ubyte").write_bytes(idx(2049, np.array(labels[rows], np.uint8)))
    return images[:, None], labels


def pack(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def write_svhn(folder: Path, **changes: Any) -> tuple[Bytes, list[int]]:
    images, labels = pixels(32, 32, 3, 5), np.array([[10], [1], [9], [2], [10]], np.uint8)
    savemat(folder / "train_32x32.mat", {"X": images[..., :3], "y": labels[:3], **changes})
    savemat(folder / "test_32x32.mat", {"X": images[..., 3:], "y": labels[3:]}, do_compression=True)
    # From (row, column, channel, item) to (item, channel, row, column), one axis at a time.
    return np.stack([np.stack([images[:, :, c, n] for c in range(3)]) for n in range(5)]), [0, 1, 9, 2, 0]


def write_cifar10(folder: Path) -> tuple[Bytes, list[int]]:
    images, labels = pixels(12, 3, 32, 32), [k % 10 for k in range(12)]
    for file, name in enumerate(CIFAR10):
        rows = range(2 * file, 2 * file + 2)
        (folder / name).write_bytes(b"".join(bytes([labels[row]]) + images[row].tobytes() for row in rows))
    (folder / "batches.meta.txt").write_text("".join(f"kind{k}\n" for k in range(10)) + "\n")
    return images, labels


def write_cifar100(folder: Path) -> tuple[Bytes, list[int]]:
    images, labels = pixels(6, 3, 32, 32), [99, 0, 50, 7, 8, 31]
    records = [bytes([19, label]) + image.tobytes() for image, label in zip(images, labels, strict=True)]
    (folder / "train.bin").write_bytes(b"".join(records[:5]))
    (folder / "test.bin").write_bytes(records[5])
    (folder / "fine_label_names.txt").write_text("".join(f"fine{k}\n" for k in range(100)))
    return images, labels


def write_caltech101(folder: Path) -> tuple[Bytes, list[int]]:
    images = pixels(5, 64, 64, 3)
    for kind, rows in {"ant": [0, 1], "zebra": [2, 3, 4], "BACKGROUND_Google": [0, 2]}.items():
        (folder / kind).mkdir()
        for row in rows:
            Image.fromarray(images[row]).save(folder / kind / f"image_{row:04}.png")
    (folder / "ant" / "notes.txt").write_text("not a picture")
    return images.transpose(0, 3, 1, 2), [0, 0, 1, 1, 1]


WRITERS: dict[str, Callable[[Path], tuple[Bytes, list[int]]]] = {
    "mnist": write_mnist,
    "svhn": write_svhn,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "caltech101": write_caltech101,
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(name: str, tmp_path: Path) -> None:
    images, labels = WRITERS[name](tmp_path)
    data = load(name, tmp_path)
    check(data, images, labels)
    assert data.name == name


@pytest.mark.parametrize("mark", ["-", "."])
def test_mnist_is_read_packed_and_under_either_name(mark: str, tmp_path: Path) -> None:
    images, labels = write_mnist(tmp_path, mark)
    pack(tmp_path)
    check(load("mnist", tmp_path), images, labels)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("cifar10", "cifar-10-batches-bin"),
        ("cifar100", "cifar-100-binary"),
        ("caltech101", "101_ObjectCategories"),
    ],
)
def test_the_folder_of_an_unpacked_archive_is_found(name: str, inner: str, tmp_path: Path) -> None:
    (tmp_path / inner).mkdir()
    images, labels = WRITERS[name](tmp_path / inner)
    check(load(name, tmp_path), images, labels)


def test_class_names(tmp_path: Path) -> None:
    names = {}
    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
        names[name] = load(name, tmp_path / name).classes
    assert names["mnist"] == names["svhn"] == list("0123456789")
    assert names["cifar10"] == [f"kind{k}" for k in range(10)]
    assert names["cifar100"] == [f"fine{k}" for k in range(100)]
    assert names["caltech101"] == ["ant", "zebra"]


def test_pictures_of_any_size_and_mode_become_squares(tmp_path: Path) -> None:
    for kind, image in (("grey", Image.new("L", (30, 50), 51)), ("red", Image.new("RGB", (90, 40), (255, 0, 0)))):
        (tmp_path / kind).mkdir()
        image.save(tmp_path / kind / "one.PNG")
    x = caltech101(tmp_path, size=16).x
    assert x.shape == (2, 3, 16, 16)
    assert (x[0] == np.float32(0.2)).all()
    assert x[1].mean(axis=(1, 2)).tolist() == [1, 0, 0]


def cut(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])


def poke(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] = value
    path.write_bytes(bytes(content))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
IMAGE_BYTES = 16 + 5 * 28 * 28
TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"


@pytest.mark.parametrize(
    ("name", "file", "spoil", "words"),
    [
        ("mnist", IMAGES, lambda p: cut(p, 15), "15 bytes; a header of 16 bytes"),
        ("mnist", IMAGES, lambda p: cut(p, IMAGE_BYTES - 1), f"{IMAGE_BYTES - 1} bytes; {IMAGE_BYTES} are needed"),
        (
            "mnist",
            IMAGES,
            lambda p: p.write_bytes(p.read_bytes() + b"x"),
            f"{IMAGE_BYTES + 1} bytes; {IMAGE_BYTES} are",
        ),
        ("mnist", IMAGES, lambda p: poke(p, 3, 1), "magic number 2049; 2051 is needed"),
        ("mnist", IMAGES, lambda p: poke(p, 4, 255), "are needed for the shape (4278190085, 28, 28)"),
        ("mnist", LABELS, lambda p: poke(p, 3, 3), "magic number 2051; 2049 is needed"),
        ("mnist", LABELS, lambda p: poke(p, 10, 12), "item 2 has the label 12; 0 to 9"),
        ("mnist", LABELS, lambda p: p.write_bytes(idx(2049, np.zeros(4, np.uint8))), "4 labels; 5, one per image"),
        (
            "mnist",
            "t10k-images-idx3-ubyte",
            lambda p: p.write_bytes(idx(2051, pixels(2, 27, 28))),
            "images of (27, 28); (28, 28), as before",
        ),
        ("svhn", TRAIN, lambda p: cut(p, 0), "a whole MATLAB file"),
        ("svhn", TRAIN, lambda p: cut(p, 60), "a whole MATLAB file"),
        ("svhn", TRAIN, lambda p: cut(p, 2000), "a whole MATLAB file"),
        ("svhn", TEST, lambda p: cut(p, 2000), "a whole MATLAB file"),
        ("svhn", TEST, lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" * 40), "a whole MATLAB file"),
        (
            "svhn",
            TRAIN,
            lambda p: write_svhn(p.parent, X=pixels(32, 32, 4)),
            "X is uint8 (32, 32, 4); uint8 (32, 32, 3",
        ),
        ("svhn", TRAIN, lambda p: write_svhn(p.parent, X=np.ones((32, 32, 3, 3))), "X is float64"),
        ("svhn", TRAIN, lambda p: write_svhn(p.parent, y=np.ones((2, 1), int)), "(2, 1); integers (3, 1) are needed"),
        ("svhn", TRAIN, lambda p: write_svhn(p.parent, y=np.ones((3, 1))), "y is float64"),
        ("svhn", TRAIN, lambda p: write_svhn(p.parent, y=np.array([[1], [0], [3]])), "item 1 has the label 0; 1 to 10"),
        ("svhn", TRAIN, lambda p: savemat(p, {"X": pixels(32, 32, 3, 3)}), "no variable y"),
        ("cifar10", "data_batch_3.bin", lambda p: cut(p, 6000), "6000 bytes; whole records of 3073 bytes"),
        ("cifar10", "data_batch_3.bin", lambda p: cut(p, 0), "0 bytes; whole records"),
        ("cifar10", "data_batch_3.bin", lambda p: cut(p, 3073), "1 records; 2, as in data_batch_1.bin"),
        ("cifar10", "test_batch.bin", lambda p: poke(p, 3073, 10), "item 1 has the label 10; 0 to 9"),
        ("cifar10", "batches.meta.txt", lambda p: p.write_text("a\nb\n"), "2 class names; 10 are needed"),
        ("cifar10", "batches.meta.txt", lambda p: p.write_bytes(b"a\nb\xff"), "byte 3 is not ASCII"),
        ("cifar100", "train.bin", lambda p: cut(p, 3073), "3073 bytes; whole records of 3074 bytes"),
        ("cifar100", "train.bin", lambda p: cut(p, 4 * 3074), "4 records; 5, 5 for each of test.bin"),
        ("cifar100", "test.bin", lambda p: poke(p, 1, 100), "item 0 has the label 100; 0 to 99"),
        ("caltech101", "zebra/image_0003.png", lambda p: cut(p, 3000), "a whole picture is needed"),
        ("caltech101", "zebra/image_0003.png", lambda p: p.write_text("no"), "a whole picture is needed"),
    ],
)
def test_a_spoiled_file_is_refused_by_name(
    name: str, file: str, spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path)
    spoil(tmp_path / file)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load(name, tmp_path)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize("length", [0, 5, 40])
def test_a_cut_off_gzip_file_is_refused(length: int, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    pack(tmp_path)
    cut(tmp_path / f"{IMAGES}.gz", length)
    with pytest.raises(ValueError, match=f"{IMAGES}.gz: "):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "t10k-labels-idx1-ubyte"),
        ("svhn", "test_32x32.mat"),
        ("cifar10", "data_batch_5.bin"),
        ("cifar10", "batches.meta.txt"),
        ("cifar100", "test.bin"),
    ],
)
def test_a_missing_file_is_named(name: str, file: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        load(name, tmp_path)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    sprung = tmp_path / "sprung"
    trap = pickle.dumps({"data": Trap(sprung)})
    (tmp_path / "data_batch_1").write_bytes(trap)
    (tmp_path / "data_batch_1.bin").unlink()
    with pytest.raises(FileNotFoundError, match="the pickled one is not read"):
        load("cifar10", tmp_path)
    (tmp_path / "data_batch_1.bin").write_bytes(trap)
    with pytest.raises(ValueError, match="whole records of 3073 bytes"):
        load("cifar10", tmp_path)
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists(), "the trap works"


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    with pytest.raises(ValueError, match="1 folders of pictures; one per class, at least 2"):
        load("caltech101", tmp_path)
    (tmp_path / "bee").mkdir()
    with pytest.raises(ValueError, match=r"ant: no pictures; files ending in \.jpeg, \.jpg, \.png"):
        load("caltech101", tmp_path)


def test_other_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no loader for 'imagenet'; there are mnist, svhn"):
        load("imagenet", tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load("mnist", tmp_path / "nowhere")
