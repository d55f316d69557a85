"""Standardisation against numpy in float64, over as many batches as it takes, in one unit and in many."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from worker.training import standardise
from worker.training.standardise import Standardise, standardisation, standardised, unwrapped

Array = npt.NDArray[np.float64]


class Sliced:
    """Items that are no tensor, read by the slice; how many at once is noted."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        self.read.append(len(self.x[rows]))
        return self.x[rows]


def by_numpy(x: Array) -> tuple[Array, Array]:
    """Mean and scale of each feature, or of each channel over items and places.

    The scale is the standard deviation of the feature itself; or the root mean square of those of all features that
    vary, where that is at most ten times the median of them (the lower one of two in the middle).
    """
    axes = (0, *range(2, x.ndim))
    scale = x.std(axis=axes)
    varies = x.min(axis=axes) < x.max(axis=axes)
    if varies.any():
        own = sorted(scale[varies])
        together = np.sqrt(np.mean(np.square(own)))
        if together <= 10 * own[(len(own) - 1) // 2]:
            scale[:] = together
    scale[~varies] = 1
    shape = (-1, *([1] * (x.ndim - 2)))
    return x.mean(axis=axes).reshape(shape), scale.reshape(shape)


@pytest.fixture(params=[1, 3, 7, 1024], ids=lambda size: f"batches of {size}")
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(standardise, "_BATCH", request.param)
    size: int = request.param
    return size


@pytest.mark.parametrize("shape", [(22, 4), (1, 4), (7, 1), (22, 3, 5), (22, 3, 5, 4), (1, 2, 3, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("largest", [20, 1000], ids=["one unit", "units of their own"])
def test_mean_and_scale_are_those_of_numpy(batches: int, shape: tuple[int, ...], offset: float, largest: float) -> None:
    generator = np.random.default_rng(sum(shape))
    units = np.geomspace(0.5, largest, shape[1]) if largest > 100 else np.linspace(0.5, largest, shape[1])
    x = offset + generator.normal(size=shape) * units.reshape(-1, *([1] * (len(shape) - 2)))
    given = Sliced(torch.from_numpy(x))
    mean, scale = standardisation(given)
    expected_mean, expected_scale = by_numpy(x)
    assert mean.dtype == scale.dtype == torch.float64
    np.testing.assert_allclose(mean.numpy(), expected_mean, rtol=1e-12, atol=1e-12)
    # Digits that the offset has taken from the items cannot come back.
    np.testing.assert_allclose(scale.numpy(), expected_scale, rtol=1e-12 if offset == 0 else 1e-7)
    assert mean.shape == scale.shape == x[0].shape[:1] + (1,) * (x.ndim - 2)
    # One item more tells the number of dimensions.
    assert max(given.read) <= batches


def test_constant_features_are_only_centred(batches: int) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    x[:, 1] = 0.1  # no binary fraction: its mean is rounded
    x[:, 2] = 0
    x[:, 3] = 3e7
    mean, scale = standardisation(torch.from_numpy(x))
    assert scale[1:].tolist() == [1, 1, 1]
    # The features that are the same everywhere do not count among those that share a scale.
    assert scale[0] == pytest.approx(x[:, 0].astype(np.float64).std(), rel=1e-12)
    given = torch.from_numpy(x)
    seen = Standardise(mean.float(), scale.float())(given)
    assert float(seen[:, 1:].abs().max()) < 1e-6
    # A feature that was constant in one batch and not in the next is not constant: it counts among the others.
    x[-1, 1] = 0.2
    expected = by_numpy(x[:, :2].astype(np.float64))[1]
    assert standardisation(torch.from_numpy(x))[1].tolist() == pytest.approx([*expected, 1, 1], rel=1e-9)


@pytest.mark.parametrize(("largest", "shared"), [(24.3, True), (24.5, False)])
def test_a_root_mean_square_of_ten_medians_is_the_limit_of_one_unit(largest: float, shared: bool) -> None:
    # Deviations 1, 1, 1, 1, 1 and s: √((5 + s²) / 6) is ten where s is √595 = 24.39.
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * torch.tensor([1, 1, 1, 1, 1, largest])
    expected = [math.sqrt((5 + largest**2) / 6)] * 6 if shared else [1, 1, 1, 1, 1, largest]
    assert standardisation(x)[1].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(50, 4), (30, 3, 6, 5)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("units", [(1.0, 1.0, 1.0, 1.0), (1.0, 1e-3, 1e3, 1.0)], ids=["one unit", "their own"])
def test_standardised_items_have_mean_zero_and_deviation_one(
    shape: tuple[int, ...], dtype: torch.dtype, units: tuple[float, ...]
) -> None:
    size = torch.tensor(units[: shape[1]]).reshape(-1, *([1] * (len(shape) - 2)))
    x = ((5 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))) * size).to(dtype)
    mean, scale = standardisation(x)
    assert mean.dtype == torch.float64
    seen = Standardise(mean, scale)(x.double())
    axes = (0, *range(2, x.ndim))
    deviations = seen.std(dim=axes, unbiased=False)
    assert torch.allclose(seen.mean(dim=axes), torch.zeros(shape[1], dtype=torch.float64), atol=1e-12)
    assert float(deviations.square().mean()) == pytest.approx(1, rel=1e-9)
    # In one unit features keep what they vary more or less than others.
    assert torch.allclose(deviations, torch.ones_like(deviations)) == (units[1] != 1)
    assert seen.shape == x.shape


@pytest.mark.parametrize(
    ("message", "x"),
    [
        ("no items", torch.zeros(0, 3)),
        ("cannot be standardised", torch.zeros(3)),
        (r"shape \(4,\) and type torch.int64 cannot be standardised", torch.zeros(3, 4, dtype=torch.long)),
        ("not finite", torch.tensor([[1.0], [np.nan]])),
        ("not finite", torch.tensor([[1.0], [np.inf]])),
        ("too large to be squared", torch.tensor([[1e200], [-1e200]], dtype=torch.float64)),
    ],
)
def test_what_has_no_mean_or_deviation_is_refused(message: str, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=message):
        standardisation(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_in_front_belongs_to_the_network(training: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).to(dtype).train(training)
    x = (4 + torch.randn(9, 3, generator=torch.Generator().manual_seed(1))).to(dtype)
    mean, scale = standardisation(x)
    whole = standardised(network, mean, scale)
    assert torch.allclose(whole(x), network(((x.double() - mean) / scale).to(dtype)), rtol=1e-5, atol=1e-6)
    assert whole.training == network.training == training
    assert {tensor.dtype for tensor in whole.state_dict().values()} == {dtype}
    assert set(whole.state_dict()) == {"input.mean", "input.scale"} | {f"network.{key}" for key in network.state_dict()}
    # Nothing in front of the network is trained.
    assert list(whole.parameters()) == list(network.parameters())
    whole.to(torch.float16)
    assert {tensor.dtype for tensor in whole.state_dict().values()} == {torch.float16}


def test_the_layer_keeps_copies() -> None:
    mean, scale = torch.zeros(2), torch.ones(2)
    layer = Standardise(mean, scale)
    mean += 1
    scale += 1
    assert torch.equal(layer(torch.ones(1, 2)), torch.ones(1, 2))


def test_unwrapped_gives_the_network_itself() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    mean, scale = torch.zeros(3), torch.ones(3)
    assert unwrapped(standardised(network, mean, scale)) is network
    assert unwrapped(network) is network
    assert unwrapped(network[0]) is network[0]
    # Something else that begins with such a layer is a network of its own.
    own = nn.Sequential(Standardise(mean, scale), nn.Linear(3, 5), nn.Linear(5, 2))
    assert unwrapped(own) is own
    twice = standardised(standardised(network, mean, scale), mean, scale)
    assert unwrapped(twice) is twice[1]
