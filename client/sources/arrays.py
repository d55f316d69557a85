"""Arrays in memory and in files, torch tensors, datasets and loaders: told by what they can do, never by import."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from client.sources.parts import Part, Reading, Source, SourceError, class_name, class_names, embedded, merged
from client.sources.pictures import prepared
from client.sources.text import DIMENSIONS, text_vectors

if TYPE_CHECKING:
    from client.sources.parts import Array

_ROWS = 256
_LABELS = ("y", "labels", "label", "targets", "target")


def array_source(data: Any, reading: Reading, name: str = "the array", columns: Any = None) -> Source:
    """An array (N, ...) or what can become one. Raises SourceError."""
    x = as_array(data)
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        raise SourceError(
            f"{name} is {x.dtype} of shape {list(x.shape)}: items are rows of numbers, of shape [items, ...]"
        )
    labels, embed = reading.get("labels"), reading.get("embed")
    ids = _checked_ids(reading.get("ids"), len(x), name)
    named = _checked_labels(labels, len(x), name)
    said = tuple(map(str, columns)) if columns is not None and embed is None and x.ndim == 2 else None
    size = max(1, min(10_000, (32 << 20) // max(1, x[:1].nbytes)))

    def parts() -> Iterator[Part]:
        for start in range(0, len(x), size):
            rows = np.ascontiguousarray(x[start : start + size])
            stop = start + len(rows)
            made = rows if embed is None else embedded(embed, list(rows), len(rows), f"{name}, from row {start + 1}")
            yield Part(len(rows), made, ids=ids and ids[start:stop], labels=named and named[start:stop], columns=said)

    return Source(name, parts, len(x), "arrays", [], _classes_of(named), reading.get("image_size"))


def text_source(texts: Sequence[str], reading: Reading, name: str = "the texts") -> Source:
    """A list of texts, as vectors. Raises SourceError."""
    ids, named = (
        _checked_ids(reading.get("ids"), len(texts), name),
        _checked_labels(reading.get("labels"), len(texts), name),
    )
    embed, dimensions = reading.get("embed"), reading.get("dimensions") or DIMENSIONS

    def parts() -> Iterator[Part]:
        for start in range(0, len(texts), 1000):
            some = list(texts[start : start + 1000])
            stop = start + len(some)
            x = text_vectors(some, dimensions) if embed is None else embedded(embed, list(some), len(some), name)
            yield Part(len(some), x, texts=some, ids=ids and ids[start:stop], labels=named and named[start:stop])

    return Source(name, lambda: merged(parts()), len(texts), "texts", [], _classes_of(named))


def npz_source(path: Path, reading: Reading) -> Source:
    """A file with x, and optionally ids, text and labels under the names that people give them. Raises SourceError."""
    try:
        with np.load(path, allow_pickle=False, mmap_mode="r") as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    x = arrays.get("x", arrays.get("X"))
    if x is None:
        several = [name for name, array in arrays.items() if array.ndim >= 2 and array.dtype.kind in "fiub"]
        if len(several) != 1:
            raise SourceError(f"{path} has no array x; its arrays are {', '.join(arrays)}: save the items as x")
        x = arrays[several[0]]
    found = dict(reading)
    columns = arrays.get("columns")
    if "ids" in arrays and found.get("ids") is None:
        found["ids"] = [str(value) for value in arrays["ids"].tolist()]
    label = next((name for name in _LABELS if name in arrays), None)
    if label is not None and found.get("labels") is None:
        found["labels"] = arrays[label].tolist()
    return array_source(x, Reading(**found), str(path), columns)  # type: ignore[typeddict-item]


def dataset_source(data: Any, reading: Reading, name: str = "the dataset") -> Source:
    """A dataset of (x, label) or x, or a loader of batches of them. Raises SourceError."""
    loader = hasattr(data, "dataset") and hasattr(data, "batch_size")
    if loader and "Random" in type(getattr(data, "sampler", None)).__name__:
        raise SourceError(f"{name} shuffles, so that nobody knows which item is which: make it with shuffle=False")
    inner = data.dataset if loader else data
    names = getattr(inner, "classes", None)
    labeled = _has_label(inner[0] if hasattr(inner, "__getitem__") and len(inner) else None)
    rows = len(inner) if hasattr(inner, "__len__") else None
    given = _checked_ids(reading.get("ids"), rows, name) if rows is not None else None

    def parts() -> Iterator[Part]:
        start = 0
        for x, labels in _batches(data, loader=loader):
            ids = given and given[start : start + len(x)]
            yield _part(x, labels, names, reading, f"{name}, from item {start + 1}", ids)
            start += len(x)

    classes: Callable[[], list[str]] | None = None
    if labeled:
        classes = (lambda: [str(each) for each in names]) if names else (lambda: _scanned(parts()))
    return Source(name, lambda: merged(parts()), rows, "arrays", [], classes, reading.get("image_size"))


def _batches(data: Any, *, loader: bool) -> Iterator[tuple[Any, list[Any] | None]]:
    if loader:
        for batch in data:
            x, labels = _pair(batch)
            yield x, None if labels is None else as_array(labels).tolist()
        return
    items = iter(data) if not hasattr(data, "__len__") else (data[index] for index in range(len(data)))
    waiting: list[Any] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == _ROWS:
            yield _stacked(waiting)
            waiting = []
    if waiting:
        yield _stacked(waiting)


def _stacked(items: list[Any]) -> tuple[list[Any], list[Any] | None]:
    pairs = [_pair(item) for item in items]
    labels = [label for _, label in pairs]
    return [x for x, _ in pairs], None if labels[0] is None else [_plain(label) for label in labels]


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, tuple | list) and len(item) in {1, 2}:
        return item[0], item[1] if len(item) == 2 else None
    if isinstance(item, dict):
        raise SourceError(
            f"the dataset gives dictionaries of {', '.join(map(str, item))}: make it give (inputs, label), or give an "
            "array of the inputs"
        )
    return item, None


def _has_label(item: Any) -> bool:
    return item is not None and _pair(item)[1] is not None


def _part(
    x: Any, labels: list[Any] | None, names: Sequence[Any] | None, reading: Reading, where: str, ids: list[str] | None
) -> Part:
    embed = reading.get("embed")
    said = None if labels is None else [_named(label, names) for label in labels]
    if isinstance(x, list) and hasattr(x[0], "save"):  # pictures
        if embed is None:
            return Part(len(x), pictures=[prepared(each, where) for each in x], labels=said, ids=ids)
        return Part(len(x), embedded(embed, x, len(x), where), labels=said, ids=ids)
    if isinstance(x, list):
        shapes = {np.shape(as_array(each)) for each in x}
        if len(shapes) > 1:
            raise SourceError(f"{where}: items have several shapes, {sorted(shapes)}: all of a pool have one")
        x = np.stack([as_array(each) for each in x])
    x = as_array(x)
    if embed is not None:
        x = embedded(embed, list(x), len(x), where)
    return Part(len(x), x.reshape(len(x), -1) if x.ndim == 1 else x, labels=said, ids=ids)


def _named(label: Any, names: Sequence[Any] | None) -> str | None:
    if names is not None and isinstance(label, int):
        return str(names[label]) if 0 <= label < len(names) else None
    return class_name(label)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def as_array(data: Any) -> "Array":
    """A tensor, a list or an array as an array."""
    if hasattr(data, "detach"):
        data = data.detach().cpu()
    found: Array = np.asarray(data)
    return found


def _checked_ids(ids: Sequence[str] | None, rows: int | None, name: str) -> list[str] | None:
    if ids is None:
        return None
    if rows is not None and len(ids) != rows:
        raise SourceError(f"{name} has {rows} items, and there are {len(ids)} ids")
    return [str(each) for each in ids]


def _checked_labels(labels: "Sequence[Any] | Array | None", rows: int, name: str) -> list[str | None] | None:
    if labels is None:
        return None
    found = list(as_array(labels).tolist() if hasattr(labels, "shape") else labels)
    if len(found) != rows:
        raise SourceError(f"{name} has {rows} items, and there are {len(found)} labels: None stands for none")
    return [class_name(label) for label in found]


def _classes_of(labels: list[str | None] | None) -> Callable[[], list[str]] | None:
    return None if labels is None else lambda: class_names(label for label in labels if label is not None)


def _scanned(parts: Iterator[Part]) -> list[str]:
    return class_names(label for part in parts for label in part.labels or () if label is not None)
