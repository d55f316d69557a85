"""Tables - CSV, parquet, Arrow, data frames, Hugging Face datasets - as parts of a pool, batch by batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from client.sources.columns import Columns, chosen
from client.sources.parts import Part, Reading, Scalar, Source, SourceError, class_name, class_names, embedded, merged
from client.sources.pictures import prepared
from client.sources.text import DIMENSIONS, text_vectors

if TYPE_CHECKING:
    from client.sources.parts import Array

CLASSES_MAX = 1000  # more distinct labels than this are no classes
NAMES_MAX, NAME_LENGTH_MAX = 10_000, 200  # as the service takes them
_WORDS_MAX = 512  # characters of an attribute

Batches = Callable[[Mapping[str, pa.DataType]], Iterator[pa.Table]]


@dataclass(frozen=True)
class Opened:
    """A table as its format gives it."""

    name: str
    head: pa.Table  # its first rows
    batches: Batches  # the whole, anew with each call; told which types columns are to be read as
    rows: int | None = None
    classes: Mapping[str, list[str]] = field(default_factory=dict)  # columns of indices, and what these stand for
    stray: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # what is no number among numbers: row and value


def table_source(opened: Opened, reading: Reading) -> Source:
    """A table as a source. Raises SourceError where its columns do not make items."""
    columns = chosen(opened.name, opened.head, reading, opened.classes, opened.stray)
    types = {name: pa.string() for name in columns.words() if name not in opened.classes}
    types |= {name: pa.float64() for name in columns.features}
    rows = _Rows(opened, columns, reading)

    def parts() -> Iterator[Part]:
        start = 0
        for batch in opened.batches(types):
            for cut in _cut(batch, columns):
                yield rows.part(cut, start)
                start += len(cut)

    kind = "pictures" if columns.image else "texts" if rows.from_text else "vectors"
    return Source(
        opened.name,
        lambda: merged(parts()),
        opened.rows,
        kind,  # type: ignore[arg-type]
        columns.said,
        None if columns.label is None else partial(_classes, opened, columns.label, types),
        reading.get("image_size"),
    )


def _cut(batch: pa.Table, columns: Columns) -> Iterator[pa.Table]:
    """Rows in numbers that fit in memory once they are vectors or pictures."""
    size = 64 if columns.image else 2000
    for start in range(0, len(batch), size):
        yield batch.slice(start, size)


def _classes(opened: Opened, label: str, types: Mapping[str, pa.DataType]) -> list[str]:
    if label in opened.classes:
        return list(opened.classes[label])
    found: set[str] = set()
    for batch in opened.batches(types):
        found |= {name for name in map(class_name, pc.unique(batch[label]).to_pylist()) if name is not None}
        if len(found) > CLASSES_MAX:
            raise SourceError(
                f"{opened.name}: column {label!r} has more than {CLASSES_MAX} distinct values, which are no classes: "
                "name the column of labels with --label-column, or the classes with --classes"
            )
    return class_names(found)


class _Rows:
    """Rows of a table as parts."""

    def __init__(self, opened: Opened, columns: Columns, reading: Reading) -> None:
        self.opened, self.columns, self.reading = opened, columns, reading
        self.embed = reading.get("embed")
        self.from_text = not (columns.features or columns.vector or columns.image)
        self.seen: set[str] = set()

    def part(self, batch: pa.Table, start: int) -> Part:
        where = f"{self.opened.name}, rows {start + 1} to {start + len(batch)}"
        texts = None if self.columns.text is None else self._texts(batch[self.columns.text], start)
        pictures = None if self.columns.image is None else self._pictures(batch[self.columns.image], start)
        x: Array | None = None
        if self.embed is not None:
            given = self._given(batch, start, texts, pictures)
            x, pictures = embedded(self.embed, given, len(batch), where), None
        elif self.from_text:
            assert texts is not None
            x = text_vectors(texts, self.reading.get("dimensions") or DIMENSIONS)
        elif pictures is None:
            x = self._numbers(batch, start)
        return Part(
            rows=len(batch),
            x=x,
            pictures=pictures,
            ids=self._ids(batch, start),
            texts=texts,
            labels=self._labels(batch),
            attributes=self._attributes(batch) if self.columns.attributes else None,
            columns=self._names(),
        )

    def _names(self) -> tuple[str, ...] | None:
        """What the numbers of an item are called, where each is a column and they fit the service's limits."""
        names = self.columns.features
        if self.embed is not None or not names or len(names) > NAMES_MAX:
            return None
        return tuple(name[:NAME_LENGTH_MAX] for name in names)

    def _given(self, batch: pa.Table, start: int, texts: list[str] | None, pictures: list[bytes] | None) -> list[Any]:
        if pictures is not None:
            from client.sources.pictures import opened

            return [opened(picture) for picture in pictures]
        if texts is not None and self.from_text:
            return list(texts)
        return list(self._numbers(batch, start))

    def _ids(self, batch: pa.Table, start: int) -> list[str] | None:
        if self.columns.id is None:
            return None
        found = [class_name(value) for value in batch[self.columns.id].to_pylist()]
        for row, name in enumerate(found):
            if name is None:
                raise self._error(start + row, self.columns.id, "no id: fill it in, or choose another --id-column")
        return [name for name in found if name is not None]

    def _texts(self, column: pa.ChunkedArray, start: int) -> list[str]:
        found = column.to_pylist()
        for row, text in enumerate(found):
            if not isinstance(text, str):
                assert self.columns.text is not None
                raise self._error(start + row, self.columns.text, "no text: fill it in, or leave the row out")
        return list(found)

    def _pictures(self, column: pa.ChunkedArray, start: int) -> list[bytes]:
        pictures = []
        for row, value in enumerate(column.to_pylist()):
            content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
            where = f"{self.opened.name}, row {start + row + 1}, column {self.columns.image!r}"
            if content is None and path is None:
                raise SourceError(f"{where}: no picture: leave the row out")
            pictures.append(prepared(content if content is not None else path, where))
        return pictures

    def _numbers(self, batch: pa.Table, start: int) -> "Array":
        if self.columns.vector is not None:
            return self._vectors(batch[self.columns.vector], start)
        parts = [self._feature(batch[name], name, start) for name in self.columns.features]
        return np.column_stack(parts).astype(np.float32)

    def _feature(self, column: pa.ChunkedArray, name: str, start: int) -> "Array":
        found: Array = column.cast(pa.float64(), safe=False).to_numpy()
        missing = ~np.isfinite(found)
        fill = self.reading.get("fill")
        if fill is not None:
            return np.where(np.isnan(found), fill, found)
        if missing.any():
            row = int(missing.argmax())
            what = (
                "no number: it is empty, or says n.a. or the like"
                if np.isnan(found[row])
                else f"{found[row]}, which is not finite"
            )
            raise self._error(
                start + row, name, f"{what}: fill it in, give --fill 0, or leave the column out with --features"
            )
        return found

    def _vectors(self, column: pa.ChunkedArray, start: int) -> "Array":
        assert self.columns.vector is not None
        rows = column.to_pylist()
        try:
            return np.array(rows, dtype=np.float32)
        except (TypeError, ValueError):
            first = np.shape(rows[0]) if rows[0] is not None else None
            row = next((r for r, value in enumerate(rows) if value is None or np.shape(value) != first), 0)
            raise self._error(
                start + row, self.columns.vector, "not as many numbers as in the first row: all vectors have one length"
            ) from None

    def _labels(self, batch: pa.Table) -> list[str | None] | None:
        if self.columns.label is None:
            return None
        names = self.opened.classes.get(self.columns.label)
        found = batch[self.columns.label].to_pylist()
        if names is not None:
            # A dataset's own sign for "no label" is a negative index.
            return [names[value] if isinstance(value, int) and 0 <= value < len(names) else None for value in found]
        return [class_name(value) for value in found]

    def _attributes(self, batch: pa.Table) -> list[dict[str, Scalar]]:
        found: list[dict[str, Scalar]] = [{} for _ in range(len(batch))]
        for name in self.columns.attributes:
            for row, value in enumerate(batch[name].to_pylist()):
                if (kept := _scalar(value)) is not None:
                    found[row][name[:64]] = kept
        return found

    def _error(self, row: int, column: str, what: str) -> SourceError:
        return SourceError(f"{self.opened.name}, row {row + 1}, column {column!r}: {what}")


def _scalar(value: Any) -> Scalar | None:
    if value is None or value != value:
        return None
    if isinstance(value, bool | int | float):
        return value if abs(value) < float("inf") else None
    return str(value)[:_WORDS_MAX].replace("\0", "")


def listed(names: Sequence[str]) -> str:
    """Names for a message."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
