"""Pictures and archives of them, for uploads."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.api import archive


def encoded(pixels: npt.NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture file of an array of bytes, or of a picture."""
    made = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    image.save(made, kind, **options)
    return made.getvalue()


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A colour picture that no format makes small."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(data: bytes) -> npt.NDArray[Any]:
    """What a picture file shows."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def zipped(**members: bytes) -> bytes:
    """An archive of pictures by name, each with the suffix .png."""
    return archive({f"{name}.png": data for name, data in members.items()})
