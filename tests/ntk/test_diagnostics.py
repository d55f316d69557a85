"""The spectrum of a kernel against a general eigenvalue solver."""

import pytest
import torch

from ntk.diagnostics import spectrum
from ntk.errors import NonFiniteError
from tests import oracles


def kernel(size: int, rank: int, seed: int = 0) -> torch.Tensor:
    features = torch.randn((size, rank), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return features @ features.mT


def test_all_eigenvalues_of_a_small_window() -> None:
    gram = kernel(40, 25)
    found = spectrum(gram, torch.Generator())
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(oracles.spectrum(gram), abs=1e-9)
    # No ridge is in it: what the rank leaves out is zero.
    assert float(found[25:].abs().max()) < 1e-9
    assert float(found.sum()) == pytest.approx(float(gram.trace()))
    single = spectrum(gram.float(), torch.Generator())
    assert torch.allclose(single, found, atol=1e-3)


def test_a_sample_of_a_large_one() -> None:
    gram = kernel(900, 6)
    one, again, other = (spectrum(gram, torch.Generator().manual_seed(seed), 300) for seed in (1, 1, 2))
    assert len(one) == 300
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    # Scaled to the window, the leading ones are near those of all items.
    everything = spectrum(gram, torch.Generator(), 900)
    assert torch.allclose(3 * one[:6], everything[:6], rtol=0.2)
    # An item is drawn once: of a diagonal kernel the sample has distinct entries.
    entries = torch.arange(1.0, 601.0)
    drawn = spectrum(torch.diag(entries), torch.Generator().manual_seed(0), 100).round()
    assert len(set(drawn.tolist())) == 100
    assert set(drawn.tolist()) <= set(entries.tolist())


def test_edges() -> None:
    assert spectrum(torch.tensor([[2.0]]), torch.Generator()).tolist() == [2.0]
    with pytest.raises(NonFiniteError):
        spectrum(torch.tensor([[1.0, torch.nan], [torch.nan, 1.0]]), torch.Generator())
