"""Random changes that leave the class: what may change, what never does, and what repeats."""

import math
from collections.abc import Callable

import pytest
import torch

from worker.training import augment
from worker.training.augment import strong, weak

Tensor = torch.Tensor
Augment = Callable[[Tensor, torch.Generator], Tensor]
BOTH = pytest.mark.parametrize("change", [weak, strong])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator(7), dtype=torch.float64).to(dtype)


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """(channels, height, width) moved, place by place; what comes in from outside repeats the edge."""
    _, height, width = image.shape
    moved = torch.empty_like(image)
    for row in range(height):
        for column in range(width):
            source = min(max(row - down, 0), height - 1), min(max(column - right, 0), width - 1)
            moved[:, row, column] = image[:, source[0], source[1]]
    return moved


@BOTH
@pytest.mark.parametrize("shape", [(6, 5), (1, 5), (6, 1), (4, 1, 8, 8), (4, 3, 17, 9), (1, 1, 1, 1), (2, 3, 4, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_type_and_the_items_themselves_are_kept(
    change: Augment, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = batch(*shape, dtype=dtype)
    before = x.clone()
    changed = change(x, generator())
    assert changed.shape == x.shape
    assert changed.dtype == dtype
    assert torch.equal(x, before)
    assert bool(torch.isfinite(changed).all())


@BOTH
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 16, 16)])
def test_same_seed_same_changes_whatever_was_drawn_before(change: Augment, shape: tuple[int, ...]) -> None:
    x = batch(*shape)
    torch.manual_seed(1)
    one = change(x, generator(3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(change(x, generator(3)), one)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(change(x, generator(4)), one)
    again = generator(3)
    assert not torch.equal(change(x, again), change(x, again))


@BOTH
@pytest.mark.parametrize("shape", [(2000, 1), (300, 1, 16, 16)])
def test_every_item_gets_a_change_of_its_own(change: Augment, shape: tuple[int, ...]) -> None:
    x = batch(1, *shape[1:]).expand(shape) if len(shape) == 4 else batch(*shape)
    changed = change(x, generator()) - x
    # Of 25 ways to move an image by at most two places a side, weak changes know no more.
    assert len({tuple(each.flatten().tolist()) for each in changed}) > (20 if len(shape) == 4 else 1500)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (9, 17)])
def test_weak_images_are_moved_by_an_eighth_at_most_and_nothing_else(height: int, width: int) -> None:
    x = batch(60, 2, height, width)
    reach = round(height / 8), round(width / 8)
    ways = [(down, right) for down in range(-reach[0], reach[0] + 1) for right in range(-reach[1], reach[1] + 1)]
    seen = set()
    for image, changed in zip(x, weak(x, generator()), strict=True):
        fitting = [way for way in ways if torch.equal(shifted(image, *way), changed)]
        assert len(fitting) == 1
        seen.add(fitting[0])
    # Every direction occurs, both sides alike.
    assert {way[0] for way in seen} == set(range(-reach[0], reach[0] + 1))
    assert {way[1] for way in seen} == set(range(-reach[1], reach[1] + 1))


def test_weak_vectors_get_little_noise_in_units_of_each_feature() -> None:
    x = batch(4000, 3, dtype=torch.float64) * torch.tensor([0.01, 1.0, 500.0]) + torch.tensor([3.0, 0.0, -9.0])
    noise = (weak(x, generator()) - x) / x.std(dim=0, unbiased=False)
    assert torch.allclose(noise.std(dim=0), torch.full((3,), 0.05, dtype=torch.float64), rtol=0.05)
    assert torch.allclose(noise.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=0.005)
    constant = torch.full((5, 2), 4.0)
    assert torch.equal(weak(constant, generator()), constant)
    assert torch.equal(strong(constant, generator()), constant)


def test_strong_vectors_lose_a_fifth_of_their_numbers_to_the_mean() -> None:
    x = batch(4000, 3, dtype=torch.float64) * torch.tensor([0.01, 1.0, 500.0]) + torch.tensor([3.0, 0.0, -9.0])
    changed = strong(x, generator())
    dropped = changed == x.mean(dim=0)
    assert torch.allclose(dropped.double().mean(dim=0), torch.full((3,), 0.2, dtype=torch.float64), atol=0.02)
    # Each number of an item by itself: two at once as often as chance has it.
    assert float((dropped[:, 0] & dropped[:, 1]).double().mean()) == pytest.approx(0.04, abs=0.01)
    noise = ((changed - x) / x.std(dim=0, unbiased=False))[~dropped.any(dim=1)]
    assert torch.allclose(noise.std(dim=0), torch.full((3,), 0.25, dtype=torch.float64), rtol=0.05)


@BOTH
def test_nothing_is_mirrored(change: Augment) -> None:
    """A corner with arms of unequal length goes on turning the same way."""
    shape = torch.zeros(1, 24, 24)
    shape[:, 6:18, 8:10] = 1
    shape[:, 16:18, 8:15] = 1  # an L: the foot points right
    x = shape.expand(300, 1, 24, 24).contiguous()
    turned_about = [x[:1].flip(3), x[:1].flip(2), x[:1].transpose(2, 3)]
    like, unlike = [], []
    for changed in change(x, generator()):
        like.append(best_match(changed, x[0]))
        unlike.append(max(best_match(changed, other[0]) for other in turned_about))
    closer = [one > other for one, other in zip(like, unlike, strict=True)]
    # A cut through the foot leaves a bar, that is its own mirror image.
    assert sum(closer) / len(closer) > (0.9 if change is strong else 0.999)


def best_match(image: Tensor, pattern: Tensor) -> float:
    """The largest correlation of an image with a pattern that may be moved."""
    centred, other = image - image.mean(), pattern - pattern.mean()
    products = torch.fft.ifft2(torch.fft.fft2(centred) * torch.fft.fft2(other).conj()).real
    return float(products.max() / (centred.norm() * other.norm()).clamp(min=1e-9))


def test_strong_images_stay_within_the_values_of_their_batch() -> None:
    x = batch(100, 3, 16, 16).clamp(-1, 2)
    changed = strong(x, generator())
    assert float(changed.min()) >= float(x.min())
    assert float(changed.max()) <= float(x.max())


def test_strong_images_lose_a_rectangle_of_half_a_side_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ANGLE", "_SHEAR", "_CONTRAST", "_BRIGHTNESS", "_SHIFT"):
        monkeypatch.setattr(augment, name, 0.0)
    x = batch(400, 2, 16, 24)
    cut = ~torch.isclose(strong(x, generator()), x, atol=1e-4).all(dim=1)
    sizes = []
    for each, changed in zip(cut, strong(x, generator()), strict=True):
        rows, columns = each.any(dim=1).nonzero()[:, 0].tolist(), each.any(dim=0).nonzero()[:, 0].tolist()
        sizes.append(len(rows) * len(columns))
        assert int(each.sum()) == sizes[-1]
        if rows:
            assert rows == list(range(rows[0], rows[-1] + 1))
            assert columns == list(range(columns[0], columns[-1] + 1))
            assert len(rows) <= 8
            assert len(columns) <= 12
            inside = changed[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert torch.allclose(inside, x.mean(dim=(0, 2, 3))[:, None, None].expand_as(inside))
    # On average a quarter of each side, less what lies outside.
    assert 0.5 * 24 < sum(sizes) / len(sizes) < 24


@pytest.mark.parametrize(("height", "width"), [(41, 41), (31, 61)])
def test_strong_images_are_turned_without_being_squeezed(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two marks around the middle: their distance in pixels stays, their direction turns by 15 degrees at most."""
    for name in ("_SHEAR", "_CONTRAST", "_BRIGHTNESS", "_SHIFT", "_CUTOUT"):
        monkeypatch.setattr(augment, name, 0.0)
    middle, right = (height - 1) / 2, (width - 1) / 2
    row, column = torch.arange(height)[:, None], torch.arange(width)[None]

    def mark(down: float, across: float) -> Tensor:
        distance = (row - middle - down).square() + (column - right - across).square()
        return (-distance / 4).exp()

    arms = [(0.0, 10.0), (10.0, 0.0)]
    x = torch.stack([mark(*arm) for arm in arms])[None].expand(200, 2, height, width).contiguous()
    angles = []
    for changed in strong(x, generator()):
        found = []
        for each, arm in zip(changed, arms, strict=True):
            mass = each / each.sum()
            down, across = float((mass * (row - middle)).sum()), float((mass * (column - right)).sum())
            assert math.hypot(down, across) == pytest.approx(10, abs=0.2)
            found.append(math.atan2(down, across) - math.atan2(*arm))
        assert found[0] == pytest.approx(found[1], abs=0.03)
        angles.append(math.degrees(found[0]))
    assert -15.5 < min(angles) < -13
    assert 13 < max(angles) < 15.5


@BOTH
@pytest.mark.parametrize(
    "x", [torch.zeros(3), torch.zeros(3, 4, 5), torch.zeros(0, 4), torch.zeros(3, 4, dtype=torch.long)]
)
def test_other_items_are_refused(change: Augment, x: Tensor) -> None:
    with pytest.raises(ValueError, match="cannot be augmented: it must hold images"):
        change(x, generator())
