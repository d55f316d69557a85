"""Pictures of an archive as the numbers of items, and as what people see of them: one at a time."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.decoding.archive import Member, Pictures, check_signature
from service.decoding.order import Decoded, Order, RefusedError, Rows, check_contents, check_room
from service.decoding.shapes import layout_of
from store.contents import Packer

KEPT = 512  # pixels of the longer side of what is kept to be shown
DEFAULT_SIDE = 32
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_LOSSLESS = 128 * 128  # pixels up to which what is kept is a PNG
# Decoding takes time by the pixel, and a blank picture of any size is a small file.
_PIXELS_FREE = 10**9
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(order: Order, file: BinaryIO, array: BinaryIO, contents: BinaryIO) -> Decoded:
    """Write the numbers of all pictures, and pictures to show. Raises RefusedError."""
    found = Pictures(file, order)
    shape = item_shape(order)
    check_room(order, len(found.members), shape, 4)
    rows, packer = Rows(array, order), Packer(contents, "image")
    rows.begin(shape, "<f4")
    pixels = 0
    with _no_more_pixels(order.max_pixels):
        for member in found.members:
            data = found.data(member)
            check_signature(member.name, data)
            picture, taken = _decoded(member, data, order, shape)
            pixels += taken
            if pixels > _PIXELS_FREE + order.max_expansion * order.size:
                raise RefusedError(
                    "expands_too_much",
                    f"the pictures have more than {pixels} pixels, too many for an archive of {order.size} bytes: "
                    "send them smaller, or in parts",
                    413,
                )
            rows.add(_numbers(picture, shape)[None])
            packer.add(_kept(picture))
            check_contents(order, packer)
    rows.close()
    packer.close()
    return Decoded(rows.items, [member.name for member in found.members], contents=True)


@contextmanager
def _no_more_pixels(most: int) -> Iterator[None]:
    """Pillow's own guard is one for the process: at our limit meanwhile, and afterwards as it was."""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = most
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def item_shape(order: Order) -> tuple[int, ...]:
    """What pictures are made into: the pool's shape, or (3, S, S). Raises RefusedError."""
    if order.shape is None:
        side = order.image_size or DEFAULT_SIDE
        return (3, side, side)
    shape = tuple(order.shape)
    layout = layout_of(shape)
    if layout is None:
        raise RefusedError(
            "wrong_shape", f"the pool's items have shape {order.shape}, which is no picture's: send them as arrays"
        )
    if order.image_size is not None and {layout.height, layout.width} != {order.image_size}:
        raise RefusedError(
            "wrong_shape",
            f"the pool's items have shape {order.shape}, and image_size is {order.image_size}: leave image_size out",
        )
    return shape


def _decoded(member: Member, data: bytes, order: Order, shape: tuple[int, ...]) -> tuple[Image.Image, int]:
    """The picture, upright, L or RGB; and how many pixels were decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > order.max_pixels:
                raise _too_large(member, f"{image.width} x {image.height} pixels", order)
            # A JPEG can be decoded at half its size, or a quarter.
            longer = max(KEPT, *shape)
            image.draft(None, (longer, longer))
            image.load()
            turn = _TURNS.get(_orientation(image))
            plain = _plain(image)
            return plain if turn is None else plain.transpose(turn), pixels
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(member, "more pixels", order) from error
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        # Decoders meet damage in more ways than they document; nothing but the picture's bytes is in here.
        raise RefusedError("broken_picture", f"{member.name[:200]!r} cannot be decoded: {str(error)[:200]}") from error


def _too_large(member: Member, what: str, order: Order) -> RefusedError:
    return RefusedError(
        "picture_too_large", f"{member.name[:200]!r} has {what}; {order.max_pixels} pixels is the most", 413
    )


def _plain(image: Image.Image) -> Image.Image:
    """As L or RGB; what is transparent lies on white. Raises ValueError."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError("it has 32-bit numbers: save it with 8 or 16 bits")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _orientation(image: Image.Image) -> int:
    """By EXIF; 1, upright, where there is none that can be read: the picture itself may be fine."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error):
        return 1


def _numbers(picture: Image.Image, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    layout = layout_of(shape)
    assert layout is not None
    fitted = picture.convert("L" if layout.channels == 1 else "RGB")
    if fitted.size != (layout.width, layout.height):
        fitted = fitted.resize((layout.width, layout.height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    values = np.asarray(fitted, dtype=np.float32) / np.float32(255)
    return values.transpose(2, 0, 1) if layout.order == "CHW" and layout.channels == 3 else values.reshape(shape)


def _kept(picture: Image.Image) -> bytes:
    """Encoded by us: nothing of the file that was sent is ever served."""
    longer = max(picture.size)
    if longer > KEPT:
        sides = [max(1, round(side * KEPT / longer)) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.BOX, reducing_gap=2.0)
    made = io.BytesIO()
    bare = Image.fromarray(np.asarray(picture))
    if bare.width * bare.height <= _LOSSLESS:
        bare.save(made, "PNG")
    else:
        bare.save(made, "JPEG", quality=85)
    return made.getvalue()
