"""Tasks as items of a pool: their names, and pictures as arrays."""

import io
import warnings
from typing import TYPE_CHECKING

from studio.errors import LabelStudioError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PICTURE_BYTES_MAX = 32 << 20
PIXELS_MAX = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class PictureError(LabelStudioError):
    """Bytes that are no picture, or one past the limits."""


def item_of(task: int) -> str:
    """The id of the item that stands for a task."""
    return f"task-{task}"


def pixels(content: bytes, size: int) -> "npt.NDArray[np.float32]":
    """A picture as (3, size, size) in 0..1: red, green, blue. Raises PictureError."""
    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if picture.width * picture.height > PIXELS_MAX:
                raise PictureError(f"a picture of {picture.width} x {picture.height} pixels is too large")
            small = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    except (PictureError, MemoryError):
        raise
    except Exception as error:
        # Decoders meet damage in more ways than they document; nothing but the picture's bytes is in here.
        raise PictureError("the bytes are no picture that we can read") from error
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
