"""Images of distorted characters, drawn on the spot with the fonts that come with matplotlib.

    python -m benchmarks.data.glyphs

draws the contact sheet of the documentation anew.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from fontTools.agl import UV2AGL  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.data.base import Classes, Dataset, Floats

DIGITS = string.digits
ALPHANUMERIC = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIZE_MIN = 8
_OVERSAMPLING = 2  # characters are distorted at this multiple of the size, then averaged down
_HEIGHT = 0.75  # of the tallest character, as a share of the image, before its scale is drawn
_STROKES = (0.0, 0.015, 0.03, 0.045)  # what is added around a character's outline, as shares of the em
_BLOTCHES = 5  # rows and columns of the grid that uneven backgrounds are interpolated from
_ROWS = 1000  # finished at once, to bound memory

Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is drawn for each of N items: every field but `fonts` is (N,)."""

    fonts: list[Path]
    label: Classes
    font: Classes  # an index into fonts
    stroke: Classes  # an index into the added stroke widths
    angle: Doubles  # radians
    shear: Doubles  # tangent of the angle between stems and the vertical
    width: Doubles  # horizontal scale
    height: Doubles  # vertical scale
    right: Doubles  # share of the image size
    down: Doubles  # share of the image size
    blur: Doubles  # standard deviation in pixels
    ink: Doubles  # brightness of the character
    paper: Doubles  # brightness of the background
    blotches: Doubles  # standard deviation of the uneven background
    noise: Doubles  # standard deviation of each pixel's noise


def fonts(characters: str) -> list[Path]:
    """The fonts of matplotlib that have all these characters, sorted by file name.

    A font counts when the glyphs it maps the characters to also bear their names in the Adobe Glyph List: symbol fonts
    put other shapes in the places of letters. Raises ValueError when no font has them all.
    """
    found = _fonts("".join(sorted(set(characters))))
    if not found:
        raise ValueError(f"no font of matplotlib has all of {characters!r}")
    return list(found)


@cache
def _fonts(characters: str) -> tuple[Path, ...]:
    named = {ord(character): UV2AGL.get(ord(character)) for character in characters}
    found = []
    for path in sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf")):
        with TTFont(path, lazy=True) as font:
            glyphs_of = font.getBestCmap() or {}
        if all(name is not None and glyphs_of.get(code) == name for code, name in named.items()):
            found.append(path)
    return tuple(found)


def recipe(characters: str, items: int, seed: int) -> Recipe:
    """Draw what each item will look like: classes balanced to within one item and in random order.

    Raises ValueError when there are fewer than 2 characters, one occurs twice, or there are fewer items than
    characters.
    """
    if len(characters) < 2 or len(set(characters)) < len(characters):
        raise ValueError(f"{characters!r} were given as classes; at least 2 characters, all different, are needed")
    if items < len(characters):
        raise ValueError(f"{items} items of {len(characters)} characters were asked for; one of each is the least")
    generator = np.random.default_rng(seed)
    paths = fonts(characters)
    scale = generator.uniform(0.7, 1.1, items)
    stretch = generator.uniform(0.85, 1.18, items)
    paper = generator.uniform(0.0, 0.4, items)
    return Recipe(
        fonts=paths,
        label=generator.permutation(np.arange(items, dtype=np.int64) % len(characters)),
        font=generator.integers(len(paths), size=items),
        stroke=generator.integers(len(_STROKES), size=items),
        angle=np.radians(generator.uniform(-25, 25, items)),
        shear=generator.uniform(-0.35, 0.35, items),
        width=scale * np.sqrt(stretch),
        height=scale / np.sqrt(stretch),
        right=generator.uniform(-0.12, 0.12, items),
        down=generator.uniform(-0.12, 0.12, items),
        blur=generator.uniform(0.0, 1.0, items),
        ink=paper + generator.uniform(0.3, 0.6, items),
        paper=paper,
        blotches=generator.uniform(0.0, 0.1, items),
        noise=generator.uniform(0.02, 0.12, items),
    )


def glyphs(size: int, characters: str, items: int, seed: int) -> Dataset:
    """Images (items, 1, size, size) in [0, 1] of bright characters on a darker background; the classes are balanced.

    Font, stroke, rotation, shear, scale, translation, blur, contrast and background are drawn independently per item.
    The same arguments give the same images wherever the versions of matplotlib's fonts, Pillow and numpy are the same.
    Raises ValueError when the size is below 8 pixels or as `recipe` and `fonts` do.
    """
    if size < SIZE_MIN:
        raise ValueError(f"images of {size} pixels were asked for; {SIZE_MIN} is the least")
    plan = recipe(characters, items, seed)
    x = np.empty((items, 1, size, size), np.float32)
    # Its own stream: the recipe stays the same when the size changes.
    generator = np.random.default_rng([seed, size])
    drawn = _drawn(plan, size, characters)
    for start in range(0, items, _ROWS):
        rows = slice(start, min(start + _ROWS, items))
        shapes = np.stack([next(drawn) for _ in range(rows.start, rows.stop)])
        x[rows, 0] = _on_paper(shapes, plan, rows, generator)
    return Dataset(f"glyphs{len(characters)}", x, plan.label, list(characters))


def glyphs10(items: int = 20_000, seed: int = 0) -> Dataset:
    """Digits, (items, 1, 28, 28)."""
    return glyphs(28, DIGITS, items, seed)


def glyphs62(items: int = 30_000, seed: int = 0) -> Dataset:
    """Digits, capitals and small letters, (items, 1, 32, 32).

    Some pairs are alike in some fonts (0 and O, 1 and l, capitals and small letters that differ in size only): no
    classifier reaches 100 %.
    """
    return glyphs(32, ALPHANUMERIC, items, seed)


def _drawn(plan: Recipe, size: int, characters: str) -> Iterator[Bytes]:
    """The distorted character of each item in turn, (size, size), 0 where there is no ink and 255 where it is full."""
    canvas = _OVERSAMPLING * size
    faces = [_face(path, canvas, characters) for path in plan.fonts]
    upright: dict[tuple[int, int, int], Image.Image] = {}
    transforms = _transforms(plan, canvas).tolist()
    radii = (_OVERSAMPLING * plan.blur).tolist()
    choices = zip(plan.label.tolist(), plan.font.tolist(), plan.stroke.tolist(), strict=True)
    for choice, transform, radius in zip(choices, transforms, radii, strict=True):
        if choice not in upright:
            label, font, stroke = choice
            upright[choice] = _upright(characters[label], faces[font], canvas, _STROKES[stroke])
        image = upright[choice].transform(
            (canvas, canvas), Image.Transform.AFFINE, transform, Image.Resampling.BILINEAR
        )
        yield np.asarray(image.filter(ImageFilter.GaussianBlur(radius)).reduce(_OVERSAMPLING))


@dataclass(frozen=True)
class _Face:
    font: Font
    baseline: float  # pixels from the top of the canvas


def _face(path: Path, canvas: int, characters: str) -> _Face:
    """A font in the size at which its tallest and deepest characters together take their share of the canvas."""
    _, top, _, bottom = _extent(ImageFont.truetype(str(path), canvas), characters)
    font = ImageFont.truetype(str(path), canvas * _HEIGHT * canvas / (bottom - top))
    _, top, _, bottom = _extent(font, characters)
    return _Face(font, canvas / 2 - (top + bottom) / 2)


def _extent(font: Font, characters: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of all characters drawn over one another at (0, 0) of the baseline."""
    boxes = np.array([font.getbbox(character, anchor="ms") for character in characters])
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _upright(character: str, face: _Face, canvas: int, stroke: float) -> Image.Image:
    image = Image.new("L", (canvas, canvas))
    ImageDraw.Draw(image).text(
        (canvas / 2, face.baseline),
        character,
        fill=255,
        font=face.font,
        anchor="ms",
        stroke_width=stroke * face.font.size,
    )
    return image


def _transforms(plan: Recipe, canvas: int) -> Doubles:
    """Pillow's coefficients of each item, (N, 6): from places in the distorted image to places in the upright one."""
    cosine, sine, zero = np.cos(plan.angle), np.sin(plan.angle), np.zeros(len(plan.angle))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    lean = np.array([[plan.width, plan.shear * plan.height], [zero, plan.height]])
    forward = np.einsum("ijn,jkn->nik", turn, lean)
    backward = np.linalg.inv(forward)
    middle = np.array([canvas / 2, canvas / 2])
    moved = middle + canvas * np.stack([plan.right, plan.down], axis=1)
    offset = middle - np.einsum("nij,nj->ni", backward, moved)
    return np.concatenate([backward, offset[:, :, None]], axis=2).reshape(-1, 6)


def _on_paper(shapes: Bytes, plan: Recipe, rows: slice, generator: np.random.Generator) -> Floats:
    """Give (n, size, size) shapes their contrast and background: float32 in [0, 1]."""
    n, size, _ = shapes.shape

    def column(values: Doubles) -> Floats:
        return values[rows, None, None].astype(np.float32)

    blend = _interpolation(size)
    grid = generator.standard_normal((n, _BLOTCHES, _BLOTCHES), np.float32)
    uneven = blend @ grid @ blend.T
    grain = generator.standard_normal(shapes.shape, np.float32)
    paper = column(plan.paper) + column(plan.blotches) * uneven
    ink = shapes * np.float32(1 / 255)
    mixed = paper + (column(plan.ink) - paper) * ink + column(plan.noise) * grain
    bounded: Floats = np.clip(mixed, 0, 1)
    return bounded


def _interpolation(size: int) -> Floats:
    """The matrix (size, 5) that interpolates linearly between the values at 5 equidistant places."""
    places = np.linspace(0, _BLOTCHES - 1, size)
    weights: Floats = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(_BLOTCHES))).astype(np.float32)
    return weights


def contact_sheet(dataset: Dataset, path: Path, *, rows: int = 10, columns: int = 20, gap: int = 2) -> None:
    """Save rows × columns items, in the order of their classes, as one picture; `gap` is in pixels.

    Every class gets its share of the places. Raises ValueError unless the items are images of one channel.
    """
    if dataset.x.ndim != 4 or dataset.x.shape[1] != 1:
        raise ValueError(f"{dataset.name}: items have the shape {dataset.x.shape[1:]}; (1, height, width) is needed")
    height, width = dataset.x.shape[2:]
    sheet = np.full((rows * (height + gap), columns * (width + gap)), 255, np.uint8)
    members = [np.flatnonzero(dataset.y == label) for label in range(len(dataset.classes))]
    taken = [0] * len(members)
    for place in range(rows * columns):
        label = place * len(members) // (rows * columns)
        item = members[label][taken[label] % len(members[label])]
        taken[label] += 1
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = np.rint(255 * dataset.x[item, 0])
    Image.fromarray(sheet).save(path)


def main() -> None:
    """Draw the sheet of docs/img."""
    contact_sheet(glyphs10(2000), Path(__file__).parents[2] / "docs" / "img" / "glyphs.png")


if __name__ == "__main__":
    main()
