"""Well-known image sets from a folder with their authors' files. Nothing is fetched and no pickle is read.

mnist       train- and t10k- images-idx3-ubyte and labels-idx1-ubyte, plain or .gz (LeCun, Cortes, Burges 1998)
svhn        train_32x32.mat, test_32x32.mat: cropped digits, format 2 (Netzer et al. 2011)
cifar10     data_batch_1.bin ... data_batch_5.bin, test_batch.bin, batches.meta.txt (Krizhevsky 2009)
cifar100    train.bin, test.bin, fine_label_names.txt (Krizhevsky 2009)
caltech101  101_ObjectCategories: a folder of pictures for each class (Fei-Fei, Fergus, Perona 2004)
"""

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.data.base import Classes, Dataset, Floats

Bytes = npt.NDArray[np.uint8]
CALTECH_SIZE = 64  # pixels
_DIGITS = [str(digit) for digit in range(10)]
_PIXELS = 3 * 32 * 32
_CIFAR10_FILES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
_PICTURES = {".jpg", ".jpeg", ".png"}
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049


def load(name: str, folder: Path) -> Dataset:
    """One of LOADERS, training and test items joined in this order: images (N, channels, height, width) in [0, 1].

    Raises ValueError for another name and for a file that is not what its format asks for; FileNotFoundError for
    a file that is missing.
    """
    if name not in LOADERS:
        raise ValueError(f"there is no loader for {name!r}; there are {', '.join(LOADERS)}")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; the folder with the files of {name} is needed")
    return LOADERS[name](folder)


def mnist(folder: Path) -> Dataset:
    """(70,000, 1, 28, 28); other sets of ten classes in the same four files work too. Raises as `load` does."""
    images, labels = [], []
    for part in ("train", "t10k"):
        path = _idx_path(folder, f"{part}-images", "idx3-ubyte")
        images.append(_idx(path, _IMAGES_MAGIC, 3))
        if images[-1].shape[1:] != images[0].shape[1:]:
            raise ValueError(f"{path}: images of {images[-1].shape[1:]}; {images[0].shape[1:]}, as before, are needed")
        path = _idx_path(folder, f"{part}-labels", "idx1-ubyte")
        labels.append(_checked(path, _idx(path, _LABELS_MAGIC, 1), 0, 9))
        if len(labels[-1]) != len(images[-1]):
            raise ValueError(f"{path}: {len(labels[-1])} labels; {len(images[-1])}, one per image, are needed")
    return Dataset("mnist", _unit(np.concatenate(images)[:, None]), np.concatenate(labels), _DIGITS)


def svhn(folder: Path) -> Dataset:
    """Cropped house numbers, (99,289, 3, 32, 32). Raises as `load` does."""
    images, labels = [], []
    for part in ("train", "test"):
        pictures, numbers = _mat(_found(folder / f"{part}_32x32.mat"))
        images.append(pictures)
        labels.append(numbers)
    return Dataset("svhn", _unit(np.concatenate(images)), np.concatenate(labels), _DIGITS)


def cifar10(folder: Path) -> Dataset:
    """(60,000, 3, 32, 32). Raises as `load` does; its six files have to be equally long."""
    folder = _inner(folder, "cifar-10-batches-bin")
    classes = _names(folder / "batches.meta.txt", 10)
    parts = [_records(folder / file, 1, 10) for file in _CIFAR10_FILES]
    for file, (_, labels) in zip(_CIFAR10_FILES, parts, strict=True):
        _same_count(folder / file, len(labels), len(parts[0][1]), f"as in {_CIFAR10_FILES[0]}")
    return _joined("cifar10", parts, classes)


def cifar100(folder: Path) -> Dataset:
    """(60,000, 3, 32, 32) with the 100 fine classes. Raises as `load` does; train.bin has to hold 5 times test.bin."""
    folder = _inner(folder, "cifar-100-binary")
    classes = _names(folder / "fine_label_names.txt", 100)
    parts = [_records(folder / file, 2, 100) for file in ("train.bin", "test.bin")]
    _same_count(folder / "train.bin", len(parts[0][1]), 5 * len(parts[1][1]), "5 for each of test.bin")
    return _joined("cifar100", parts, classes)


def caltech101(folder: Path, size: int = CALTECH_SIZE) -> Dataset:
    """Pictures (N, 3, size, size), stretched to squares; the classes are the folders by name, without the background.

    Raises ValueError for a picture that cannot be read, a class without pictures and fewer than 2 classes.
    """
    folder = _inner(folder, "101_ObjectCategories")
    kinds = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    kinds = [path for path in kinds if path.name != "BACKGROUND_Google"]
    if len(kinds) < 2:
        raise ValueError(f"{folder}: {len(kinds)} folders of pictures; one per class, at least 2, are needed")
    pictures, y = [], []
    for label, kind in enumerate(kinds):
        paths = sorted(path for path in kind.iterdir() if path.suffix.lower() in _PICTURES)
        if not paths:
            raise ValueError(f"{kind}: no pictures; files ending in {', '.join(sorted(_PICTURES))} are needed")
        pictures += [_picture(path, size) for path in paths]
        y += [label] * len(paths)
    x = np.stack(pictures).transpose(0, 3, 1, 2)
    return Dataset("caltech101", _unit(x), np.array(y, np.int64), [kind.name for kind in kinds])


LOADERS: dict[str, Callable[[Path], Dataset]] = {
    "mnist": mnist,
    "svhn": svhn,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "caltech101": caltech101,
}


def _unit(pixels: Bytes) -> Floats:
    scaled: Floats = np.divide(pixels, np.float32(255), dtype=np.float32, order="C")
    return scaled


def _found(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    return path


def _inner(folder: Path, name: str) -> Path:
    """The folder that an archive unpacks to, or the given one when the files lie in it directly."""
    return folder / name if (folder / name).is_dir() else folder


def _checked(path: Path, labels: Bytes, low: int, high: int) -> Classes:
    outside = np.flatnonzero((labels < low) | (labels > high))
    if len(outside):
        raise ValueError(f"{path}: item {outside[0]} has the label {labels[outside[0]]}; {low} to {high} are needed")
    return labels.astype(np.int64)


def _same_count(path: Path, count: int, needed: int, why: str) -> None:
    if count != needed:
        raise ValueError(f"{path}: {count} records; {needed}, {why}, are needed: is a file cut off?")


def _idx_path(folder: Path, stem: str, ending: str) -> Path:
    """The file under any of its names: with a dash or a dot before the ending, packed or not."""
    names = [f"{stem}{mark}{ending}{packed}" for mark in "-." for packed in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: {names[0]} is missing, and so is {names[1]}")


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: {error}; a whole gzip file is needed") from error


def _idx(path: Path, magic: int, dimensions: int) -> Bytes:
    """The array of bytes in an IDX file: a magic number, big-endian sizes and the entries."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = _unpacked(path, content)
    start = 4 * (1 + dimensions)
    if len(content) < start:
        raise ValueError(f"{path}: {len(content)} bytes; a header of {start} bytes is needed")
    found, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
    if found != magic:
        raise ValueError(f"{path}: the magic number {found}; {magic} is needed")
    needed = start + math.prod(shape)
    if len(content) != needed:
        raise ValueError(f"{path}: {len(content)} bytes; {needed} are needed for the shape {tuple(shape)} it states")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _records(path: Path, label_bytes: int, classes: int) -> tuple[Bytes, Classes]:
    """Images (N, 3, 32, 32) and classes (N,) of a CIFAR file; the last label byte before the pixels is the class."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the binary version is needed, the pickled one is not read")
    content, length = path.read_bytes(), label_bytes + _PIXELS
    if not content or len(content) % length:
        raise ValueError(f"{path}: {len(content)} bytes; whole records of {length} bytes, at least one, are needed")
    rows = np.frombuffer(content, np.uint8).reshape(-1, length)
    labels = _checked(path, rows[:, label_bytes - 1], 0, classes - 1)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def _names(path: Path, count: int) -> list[str]:
    try:
        names = _found(path).read_text(encoding="ascii").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not ASCII; a class name per line is needed") from error
    if len(names) != count:
        raise ValueError(f"{path}: {len(names)} class names; {count} are needed")
    return names


def _joined(name: str, parts: list[tuple[Bytes, Classes]], classes: list[str]) -> Dataset:
    x = np.concatenate([images for images, _ in parts])
    return Dataset(name, _unit(x), np.concatenate([labels for _, labels in parts]), classes)


def _mat(path: Path) -> tuple[Bytes, Classes]:
    """Images (N, 3, 32, 32) and classes (N,) of an SVHN file, where the digit 0 has the label 10."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        found = loadmat(path, variable_names=["X", "y"])
    except (MatReadError, NotImplementedError, ValueError, TypeError, LookupError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: {error}; a whole MATLAB file up to version 7 is needed") from error
    if missing := {"X", "y"} - found.keys():
        raise ValueError(f"{path}: no variable {min(missing)}; X and y are needed")
    pictures, numbers = found["X"], found["y"]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[:3] != (32, 32, 3):
        raise ValueError(f"{path}: X is {pictures.dtype} {pictures.shape}; uint8 (32, 32, 3, N) is needed")
    if numbers.dtype.kind not in "iu" or numbers.shape != (pictures.shape[3], 1):
        raise ValueError(f"{path}: y is {numbers.dtype} {numbers.shape}; integers {(pictures.shape[3], 1)} are needed")
    return pictures.transpose(3, 2, 0, 1), _checked(path, numbers[:, 0], 1, 10) % 10


def _picture(path: Path, size: int) -> Bytes:
    """One picture, (size, size, 3)."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: {error}; a whole picture is needed") from error
