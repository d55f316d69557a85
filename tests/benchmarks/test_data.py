"""The benchmarks' data sets: splits, the bundled sets, drawn glyphs and the catalogue."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.data import glyphs as drawing
from benchmarks.data.base import Dataset, split
from benchmarks.data.bundled import NAMES, bundled
from benchmarks.data.catalogue import DATASETS
from benchmarks.data.glyphs import ALPHANUMERIC, DIGITS, contact_sheet, fonts, glyphs, recipe


def numbered(sizes: list[int]) -> Dataset:
    """Classes of these sizes; the only feature of an item is its position."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    y = np.random.default_rng(0).permutation(y)
    x = np.arange(len(y), dtype=np.float32)[:, None]
    return Dataset("numbered", x, y.astype(np.int64), [str(label) for label in range(len(sizes))])


@pytest.mark.parametrize("seed", range(5))
def test_split_is_disjoint_and_keeps_items_with_their_classes(seed: int) -> None:
    data = numbered([50, 30, 20])
    parts = split(data, seed, 60, 40)
    pool, held_out = parts.pool_x[:, 0].astype(int), parts.held_out_x[:, 0].astype(int)
    assert sorted([*pool, *held_out]) == list(range(100))
    assert (parts.pool_y == data.y[pool]).all()
    assert (parts.held_out_y == data.y[held_out]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("pool", "held_out"), [(60, 40), (33, 17), (1, 99)])
def test_split_is_stratified(seed: int, pool: int, held_out: int) -> None:
    sizes = np.array([50, 30, 19, 1])
    parts = split(numbered(list(sizes)), seed, pool, held_out)
    for labels in (parts.pool_y, parts.held_out_y):
        share = sizes * len(labels) / 100
        assert (np.abs(np.bincount(labels, minlength=4) - share) < 2).all()


def test_split_of_balanced_classes_is_balanced() -> None:
    parts = split(numbered([30] * 5), 3, 75, 50)
    assert np.bincount(parts.held_out_y).tolist() == [10] * 5
    assert np.bincount(parts.pool_y).tolist() == [15] * 5


def test_split_depends_on_its_seed_only_and_held_out_items_not_on_the_pool() -> None:
    data = numbered([40, 60])
    one, same, small, other = (split(data, seed, pool, 30) for seed, pool in ((1, 70), (1, 70), (1, 5), (2, 70)))
    assert np.array_equal(one.pool_x, same.pool_x)
    assert np.array_equal(one.held_out_x, same.held_out_x)
    assert np.array_equal(one.held_out_x, small.held_out_x)
    assert not np.array_equal(one.held_out_x, other.held_out_x)


def test_split_puts_classes_in_random_order_within_the_pool() -> None:
    """A pool whose beginning was balanced would make the first labels better than a random draw's."""
    firsts = [np.bincount(split(numbered([50] * 4), seed, 160, 40).pool_y[:8], minlength=4) for seed in range(20)]
    assert sum(counts.max() - counts.min() > 1 for counts in firsts) >= 10


@pytest.mark.parametrize(("pool", "held_out"), [(0, 10), (10, 0), (60, 41)])
def test_split_refuses_sizes_that_cannot_be(pool: int, held_out: int) -> None:
    with pytest.raises(ValueError, match=f"pool of {pool} and {held_out} held-out.*at most 100"):
        split(numbered([50, 50]), 0, pool, held_out)


def test_dataset_refuses_what_does_not_fit_together() -> None:
    data = numbered([5, 5])
    with pytest.raises(ValueError, match="x is float64 and y int64; float32"):
        replace(data, x=data.x.astype(np.float64))
    with pytest.raises(ValueError, match=r"y \(9,\)"):
        replace(data, y=data.y[:9])
    with pytest.raises(ValueError, match=r"x has the shape \(10, 1, 1\)"):
        replace(data, x=data.x[:, None])
    with pytest.raises(ValueError, match="item 3 has the class 2; 0 to 1 are named"):
        replace(data, y=np.array([0, 1, 1, 2, 0, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("digits", (1797, 64), 10),
        ("digits_images", (1797, 1, 8, 8), 10),
        ("breast_cancer", (569, 30), 2),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
    ],
)
def test_bundled_sets(name: str, shape: tuple[int, ...], classes: int) -> None:
    data = bundled(name)
    assert data.name == name
    assert data.x.shape == shape
    assert np.array_equal(np.unique(data.y), np.arange(classes))
    assert len(data.classes) == classes
    if name.startswith("digits"):
        assert (data.x.min(), data.x.max()) == (0, 1)
    else:
        assert np.allclose(data.x.mean(axis=0), 0, atol=1e-5)
        assert np.allclose(data.x.var(axis=0), 1, atol=1e-5)


def test_bundled_refuses_other_names() -> None:
    with pytest.raises(ValueError, match="no bundled data set 'mnist'; there are digits, "):
        bundled("mnist")


def test_catalogue_names_all_sets_and_calls_them_by_their_names() -> None:
    assert set(DATASETS) == {*NAMES, "glyphs10", "glyphs62"}
    assert DATASETS["iris"]().name == "iris"
    assert drawing.glyphs10(items=20).x.shape == (20, 1, 28, 28)
    data = drawing.glyphs62(items=124)
    assert (data.name, data.x.shape, "".join(data.classes)) == ("glyphs62", (124, 1, 32, 32), ALPHANUMERIC)


def test_fonts_with_other_shapes_in_the_places_of_letters_are_left_out() -> None:
    names = {path.name for path in fonts(ALPHANUMERIC)}
    assert {"DejaVuSans.ttf", "STIXGeneral.ttf", "cmr10.ttf"} <= names
    assert names.isdisjoint({"cmsy10.ttf", "cmex10.ttf", "LastResortHE-Regular.ttf", "STIXSizOneSymReg.ttf"})
    assert "cmmi10.ttf" in {path.name for path in fonts("abc")}
    assert "cmmi10.ttf" not in {path.name for path in fonts(DIGITS)}, "its figures are in the old style"
    with pytest.raises(ValueError, match="no font of matplotlib has all of '漢字'"):
        fonts("漢字")


def test_glyphs_depend_on_the_seed_only() -> None:
    one, same, other = glyphs(28, DIGITS, 60, 5), glyphs(28, DIGITS, 60, 5), glyphs(28, DIGITS, 60, 6)
    assert np.array_equal(one.x, same.x)
    assert np.array_equal(one.y, same.y)
    assert not np.array_equal(one.x, other.x)
    assert not np.array_equal(one.y, other.y)


@pytest.mark.parametrize(("size", "characters", "items"), [(28, DIGITS, 1205), (32, "AbQ", 100), (8, "01", 2)])
def test_glyphs_are_balanced_and_in_range(size: int, characters: str, items: int) -> None:
    data = glyphs(size, characters, items, 0)
    assert data.x.shape == (items, 1, size, size)
    assert data.x.min() >= 0
    assert data.x.max() <= 1
    assert (data.x.std(axis=(1, 2, 3)) > 0.01).all()
    counts = np.bincount(data.y, minlength=len(characters))
    assert counts.max() - counts.min() <= 1
    assert data.classes == list(characters)


def test_glyphs_of_a_class_differ_in_every_respect() -> None:
    plan = recipe(DIGITS, 2000, 0)
    for label in range(10):
        members = plan.label == label
        assert len(np.unique(plan.font[members])) == len(plan.fonts)
        assert len(np.unique(plan.stroke[members])) > 1
        assert plan.angle[members].min() < -0.3 < 0.3 < plan.angle[members].max()
    data = glyphs(28, DIGITS, 300, 0)
    assert len(np.unique(data.x.reshape(300, -1), axis=0)) == 300


FIELDS = ["label", "font", "stroke", "angle", "shear", "width", "height", "right", "down", "blur", "ink", "paper"]


@pytest.mark.parametrize("field", FIELDS)
def test_everything_drawn_for_a_glyph_shows_in_its_image(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = recipe(DIGITS, 50, 0)
    constant: dict[str, Any] = {name: np.repeat(getattr(plan, name)[:1], 50) for name in FIELDS}
    # The one respect in which the images differ; two strokes, fonts and characters are enough.
    constant[field] = np.linspace(0.3, 1, 50) if getattr(plan, field).dtype == float else np.arange(50) % 2
    quiet = replace(plan, **constant, noise=np.zeros(50), blotches=np.zeros(50))
    monkeypatch.setattr(drawing, "recipe", lambda *_: quiet)
    x = glyphs(28, DIGITS, 50, 0).x
    # Equal images would be equal throughout: neither noise nor unevenness is added.
    assert np.abs(x[0] - x[1]).max() > 0.005
    assert np.array_equal(x[0], x[2]) == (getattr(plan, field).dtype != float)


def test_a_turned_and_moved_glyph_is_where_its_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = recipe("-+", 2, 0)
    still: dict[str, Any] = {
        name: np.zeros(2) for name in ("angle", "shear", "right", "down", "blur", "paper", "noise", "blotches")
    }
    whole: dict[str, Any] = {name: np.ones(2) for name in ("width", "height", "ink")}
    bars = replace(plan, label=np.zeros(2, int), font=np.zeros(2, int), stroke=np.zeros(2, int), **still, **whole)
    moved = replace(bars, angle=np.array([0, np.pi / 2]), right=np.array([0, 0.25]))
    monkeypatch.setattr(drawing, "recipe", lambda *_: moved)
    lying, standing = glyphs(32, "-+", 2, 0).x[:, 0]

    def extent(image: np.ndarray) -> list[float]:
        return [float(np.ptp(places) + 1) for places in np.nonzero(image > 0.5)]

    (height, width), (turned_height, turned_width) = extent(lying), extent(standing)
    assert width > 1.5 * height
    assert abs(turned_height - width) <= 1
    assert abs(turned_width - height) <= 1
    weight = standing.sum(axis=0)
    lying_middle = (lying.sum(axis=1) * np.arange(32)).sum() / lying.sum()
    # A quarter turn takes what is above the middle to its right, then a quarter of the width is added.
    assert (weight * np.arange(32)).sum() / weight.sum() == pytest.approx(31 - lying_middle + 8, abs=0.2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((7, DIGITS, 50), "images of 7 pixels.*8 is the least"),
        ((28, "0", 50), "at least 2 characters"),
        ((28, "001", 50), "all different"),
        ((28, DIGITS, 9), "9 items of 10 characters"),
    ],
)
def test_glyphs_refuses_what_cannot_be(arguments: tuple[int, str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        glyphs(*arguments, seed=0)


def test_contact_sheet_shows_every_class_in_order(tmp_path: Path) -> None:
    x = (np.arange(6)[:, None, None, None] * np.ones((1, 1, 3, 4)) / 5).astype(np.float32)
    data = Dataset("levels", x, np.array([2, 1, 0, 2, 1, 0]), ["a", "b", "c"])
    contact_sheet(data, tmp_path / "sheet.png", rows=3, columns=2, gap=1)
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (3 * 4, 2 * 5)
    assert (sheet[3::4] == 255).all()
    assert sheet[::4, ::5].tolist() == [[102, 255], [51, 204], [0, 153]]
    with pytest.raises(ValueError, match=r"shape \(1,\); \(1, height, width\)"):
        contact_sheet(numbered([2, 2]), tmp_path / "sheet.png")
