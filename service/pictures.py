"""Pictures for people: arrays drawn, and stored pictures brought to the size asked for."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.decoding.shapes import layout_of

# Numbers up to here within 0..255 are not brightness in 256 steps: such a picture would be all but black.
_FAINT = 32
_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def draw(values: npt.NDArray[np.floating], size: int) -> bytes:
    """An array as a picture whose longer side is at most `size`. Raises ValueError if its shape is no picture's."""
    layout = layout_of(values.shape)
    if layout is None:
        raise ValueError(f"shape {values.shape} is no picture's")
    pixels = _brightness(values.astype(np.float64))
    if layout.order == "CHW":
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _fitted(Image.fromarray(np.ascontiguousarray(pixels)), size, "PNG")


def _brightness(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """0 to 255: as they are, or 0..1 stretched, or from the least number to the greatest."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or not (high <= 1 or _FAINT < high <= 255):
        # Halved before it is subtracted: the numbers may reach the ends of what a float holds.
        span = high / 2 - low / 2
        values = (values / 2 - low / 2) / span * 255 if span > 0 else np.full_like(values, 128.0)
    elif high <= 1:
        values = values * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def resized(picture: bytes, size: int) -> bytes:
    """A stored picture with a longer side of at most `size`."""
    with Image.open(io.BytesIO(picture), formats=("PNG", "JPEG")) as image:
        if size / 2 < max(image.size) <= size:
            return picture
        return _fitted(image, size, image.format or "PNG")


def media_type(picture: bytes) -> str:
    """By its first bytes: stored pictures are PNG or JPEG."""
    return next(kind for magic, kind in _TYPES.items() if picture.startswith(magic))


def _fitted(image: Image.Image, size: int, kind: str) -> bytes:
    """With a longer side of `size`, or as it is where that enlarges it to less than twice the size."""
    longer = max(image.size)
    if size / 2 < longer <= size:
        return _encoded(image, kind)
    width, height = (max(1, round(side * size / longer)) for side in image.size)
    if longer > size:
        return _encoded(image.resize((width, height), Image.Resampling.BOX, reducing_gap=2.0), kind)
    # Smooth: in squares people recognise neither a digit of 8 pixels nor a photo of 32.
    smooth = image.resize((width, height), Image.Resampling.BICUBIC)
    # As PNG what is interpolated takes several times the bytes, and twenty times the time.
    return _encoded(smooth, "JPEG" if smooth.mode in {"L", "RGB"} else kind)


def _encoded(image: Image.Image, kind: str) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **({"quality": 85} if kind == "JPEG" else {}))
    return made.getvalue()
