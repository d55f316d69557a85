"""Pictures as they are sent: small enough to show and to learn from, upright, in formats that every browser knows."""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from client.errors import MissingPackageError
from client.sources.parts import Part, Reading, Source, SourceError, class_names, embedded, merged

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
LONGEST = 512  # pixels of a side that are kept
_AS_THEY_ARE = {"JPEG", "PNG"}
_ORIENTATION = 0x0112
_AT_A_TIME = 64


def prepared(picture: "bytes | str | os.PathLike[str] | Any", where: str) -> bytes:
    """A picture, its path or its bytes as bytes of JPEG or PNG, at most 512 pixels a side. Raises SourceError."""
    with _reading(where):
        if hasattr(picture, "save"):
            return _encoded(picture, lossless=True)
        content = bytes(picture) if isinstance(picture, bytes | bytearray) else Path(picture).read_bytes()
        image = _pillow().open(io.BytesIO(content))
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        if (
            image.format in _AS_THEY_ARE
            and max(image.size) <= LONGEST
            and not turned
            and image.mode in {"L", "RGB", "1"}
        ):
            image.load()  # that it is whole
            return content
        return _encoded(image, lossless=image.format != "JPEG" and max(image.size) <= LONGEST)


def opened(content: bytes) -> Any:
    """Bytes as a picture in colour."""
    return _pillow().open(io.BytesIO(content)).convert("RGB")


def _encoded(image: Any, *, lossless: bool) -> bytes:
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode not in {"L", "RGB"}:
        # What shows through is shown on white.
        clear = image.convert("RGBA")
        image = _pillow().new("RGB", clear.size, "white")
        image.paste(clear, mask=clear.getchannel("A"))
    image.thumbnail((LONGEST, LONGEST))
    out = io.BytesIO()
    if lossless:
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=92)
    return out.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("reading pictures", "pillow") from error
    return Image


@contextmanager
def _reading(where: str) -> Iterator[None]:
    bomb = _pillow().DecompressionBombError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, ValueError, SyntaxError, bomb) as error:
        if isinstance(error, SourceError):
            raise
        reason = "it is no picture that can be read" if "identify" in str(error) else str(error)
        raise SourceError(f"{where}: {reason}: replace it, or take it out of the folder") from error


def read_folder(path: Path | str, **reading: Unpack[Reading]) -> Source:
    """A folder of pictures: ids are their paths in it; where all lie in sub-folders, these are their classes.

    Raises SourceError for a folder without pictures.
    """
    return folder_source(Path(path), Reading(**reading))


def folder_source(folder: Path, reading: Reading) -> Source:
    """As `read_folder`."""
    files, others = _files(folder)
    if not files:
        raise SourceError(
            f"{folder} has no pictures ({', '.join(sorted(SUFFIXES))}) in it or below: give a folder of pictures, or a "
            "file of items"
        )
    tops = {file.split("/")[0] if "/" in file else None for file in files}
    labeled = None not in tops and len(tops) > 1
    names = class_names(top for top in tops if top is not None)
    said = [f"{len(files)} pictures; ids are their paths."]
    if labeled:
        few = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        said.append(f"Labels are the folders that they lie in: {few}.")
    if others:
        said.append(f"Left out: {others} files that are no pictures.")
    embed = reading.get("embed")

    def parts() -> Iterator[Part]:
        for start in range(0, len(files), _AT_A_TIME):
            some = files[start : start + _AT_A_TIME]
            found = [prepared(folder / name, str(folder / name)) for name in some]
            labels = [name.split("/")[0] for name in some] if labeled else None
            part = Part(rows=len(some), pictures=found, ids=some, labels=list(labels) if labels else None)
            if embed is not None:
                x = embedded(embed, [opened(each) for each in found], len(some), str(folder))
                part = replace(part, x=x, pictures=None)
            yield part

    classes = (lambda: names) if labeled else None
    return Source(
        str(folder), lambda: merged(parts()), len(files), "pictures", said, classes, reading.get("image_size")
    )


def _files(folder: Path) -> tuple[list[str], int]:
    """(paths of pictures within the folder, in order; how many other files there are). Hidden ones do not count."""
    found, others = [], 0
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            path = Path(root, name)
            if name.startswith(".") or not stat.S_ISREG(path.stat().st_mode):
                continue
            if path.suffix.lower() in SUFFIXES:
                found.append(path.relative_to(folder).as_posix())
            else:
                others += 1
    return sorted(found), others
