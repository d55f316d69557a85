"""Texts as vectors: stateless, alike for alike texts, good enough to tell topics apart."""

import numpy as np
import pytest

from client.sources.text import text_vectors

TEXTS = ["the match ended in a draw", "the matches ended with draws", "interest rates rise again", ""]


def test_rows_have_length_one_and_an_empty_text_is_zero() -> None:
    found = text_vectors(TEXTS, 256)
    assert found.shape == (4, 256)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0])


def test_a_text_has_the_same_vector_whatever_it_comes_with() -> None:
    together = text_vectors(TEXTS)
    assert np.array_equal(together[1], text_vectors([TEXTS[1]])[0])
    assert together.shape == (4, 1024)


def test_inflected_words_and_languages_without_spaces_have_something_in_common() -> None:
    found = text_vectors([*TEXTS[:3], "東京都の天気予報", "東京都の天気図"])
    alike = found @ found.T
    assert alike[0, 1] > alike[0, 2] + 0.1
    assert alike[3, 4] > 0.2


def test_order_of_words_counts() -> None:
    first, second = text_vectors(["good not bad", "bad not good"])
    assert first @ second < 0.999


@pytest.mark.parametrize("dimensions", [0, 1, 7, -2])
def test_dimensions_that_cannot_be(dimensions: int) -> None:
    with pytest.raises(ValueError, match=f"not {dimensions}"):
        text_vectors(["a"], dimensions)


def test_a_row_without_a_text_is_named() -> None:
    with pytest.raises(ValueError, match="text 1 is NoneType"):
        text_vectors(["a", None])  # type: ignore[list-item]


def test_no_texts() -> None:
    assert text_vectors([], 8).shape == (0, 8)
