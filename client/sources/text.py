"""Texts as vectors, without a model and without a memory: the same text gives the same vector on every machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from client.errors import MissingPackageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DIMENSIONS = 1024
WORD = r"(?u)\b\w+\b"
_ROWS = 2000  # texts hashed at a time: what is sparse becomes dense in pieces


def text_vectors(texts: Sequence[str], dimensions: int = DIMENSIONS) -> "npt.NDArray[np.float32]":
    """Texts as rows (N, D) of float32, each of length one (an empty text is all zeros).

    One half of a row counts words and pairs of words, the other runs of three to five letters within words, so that
    inflections, misspellings and languages without spaces have something in common too. Counts are hashed to places,
    so nothing is fitted: a text that comes later has its place among the earlier ones. Raises ValueError for an odd
    number of dimensions or fewer than two, MissingPackageError without scikit-learn.
    """
    import numpy as np

    if dimensions < 2 or dimensions % 2:
        raise ValueError(f"dimensions must be an even number of at least 2, not {dimensions}")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {row} is {type(text).__name__}, not a string: leave out rows without a text")
    found = np.zeros((len(texts), dimensions), dtype=np.float32)
    hashers = _hashers(dimensions // 2)
    for start in range(0, len(texts), _ROWS):
        stop = min(start + _ROWS, len(texts))
        for hasher, place in zip(hashers, (slice(None, dimensions // 2), slice(dimensions // 2, None)), strict=True):
            found[start:stop, place] = hasher.transform(texts[start:stop]).toarray()
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    np.divide(found, lengths, out=found, where=lengths > 0)
    return found


def _hashers(features: int) -> list[Any]:
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError as error:
        raise MissingPackageError("turning texts into vectors", "scikit-learn") from error
    shared = {"n_features": features, "norm": "l2", "dtype": "float32"}
    return [
        # One letter is a word too: "I" and "a" matter little, a rating of "5" does.
        HashingVectorizer(ngram_range=(1, 2), token_pattern=WORD, **shared),
        HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared),
    ]
