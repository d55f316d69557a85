"""What the columns of a table are for: said by the caller, or guessed by their names and types."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import pyarrow as pa

from client.sources.parts import Reading, SourceError

_IDS = ("id", "ids", "item", "item_id", "uuid", "key", "filename", "file_name", "path")
_LABELS = ("label", "labels", "class", "category", "target", "y")
_TEXTS = ("text", "sentence", "content", "body", "document", "message", "review", "comment", "question")
_IMAGES = ("image", "img", "picture", "photo")
_VECTORS = ("x", "embedding", "embeddings", "vector", "features")
_LONG = 40  # characters on average from which on a column of words is taken for the text
_IDS_ROWS = 2  # from so many rows on, values that are all different say something
_FEW, _MANY = 4, 8  # columns of numbers: with so many a text is not guessed by its length, or is only shown
ATTRIBUTES_MAX = 32
Kind = Literal["number", "text", "vector", "image", "truth", "time", "other"]


@dataclass(frozen=True)
class Columns:
    """Which column is what."""

    id: str | None
    label: str | None
    text: str | None
    image: str | None
    vector: str | None
    features: list[str]
    attributes: list[str]
    said: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """Columns that are read as words whatever they look like."""
        return [name for name in (self.id, self.label, self.text) if name is not None]


def kind_of(form: pa.DataType) -> Kind:
    """What a column of this type can be used for."""
    if pa.types.is_dictionary(form):
        return kind_of(form.value_type)
    checks: list[tuple[Kind, Any]] = [
        ("truth", pa.types.is_boolean),
        ("number", lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t)),
        ("text", lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_null(t)),
        ("vector", lambda t: _is_list(t) and kind_of(t.value_type) in {"number", "vector"}),
        ("image", lambda t: pa.types.is_struct(t) and {f.name for f in t} >= {"bytes", "path"}),
        ("image", lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t)),
        ("time", pa.types.is_temporal),
    ]
    return next((kind for kind, check in checks if check(form)), "other")


def _is_list(form: pa.DataType) -> bool:
    return bool(pa.types.is_list(form) or pa.types.is_large_list(form) or pa.types.is_fixed_size_list(form))


def chosen(
    where: str,
    head: pa.Table,
    reading: Reading,
    classed: Iterable[str] = (),
    stray: Mapping[str, tuple[int, str]] | None = None,
) -> Columns:
    """The columns' uses, from what the caller says and the first rows. Raises SourceError.

    `classed` are columns that say themselves that they hold classes; `stray` has, by column of numbers with a few
    cells that are none, the first of these: its row, from 1, and what stands there.
    """
    stray = stray or {}
    kinds = {name: kind_of(form) for name, form in zip(head.schema.names, head.schema.types, strict=True)}
    kinds = {name: kind for name, kind in kinds.items() if not name.startswith("__index_level_")}
    _check_stray(where, stray, [name for name in reading.get("features") or () if name in stray])
    _check_named(where, kinds, reading)
    guess = _Guess(head, kinds, reading)
    label = (
        reading.get("label_column") or next(iter(classed), None) or guess.named(_LABELS, {"text", "number", "truth"})
    )
    id_ = reading.get("id_column")
    if id_ is None:
        id_ = guess.named(_IDS, {"text", "number"}) or guess.distinct({*stray, label})
    found = {"id": id_ or None, "label": label}
    guess.taken.update(name for name in found.values() if name)
    features = list(reading.get("features") or ())
    image = vector = None
    if not features:
        image = guess.named(_IMAGES, {"image"}) or guess.only("image")
        vector = None if image else guess.named(_VECTORS, {"vector"}) or guess.only("vector")
    elif len(features) == 1 and kinds[features[0]] == "vector":
        vector, features = features[0], []
    text = reading.get("text_column") or (None if image else guess.text())
    guess.taken.update(name for name in (image, vector, text, *features) if name)
    numbers, attributes = guess.rest("number"), reading.get("attributes")
    if not (features or image or vector) and (text is None or len(numbers) >= _MANY):
        _check_stray(where, stray, [n for n in guess.rest("text") if n in stray and n not in (attributes or ())])
        features = numbers
        guess.taken.update(features)
    _check_some(where, kinds, features, text or image or vector)
    if attributes is None:
        attributes = [name for kind in ("text", "number", "truth", "time") for name in guess.rest(kind)]
        attributes = [name for name in kinds if name in attributes]
    if len(attributes) > ATTRIBUTES_MAX:
        raise SourceError(
            f"{where}: {len(attributes)} columns are left to be attributes, and an item may have {ATTRIBUTES_MAX}: "
            f"name those to keep with --attributes {','.join(attributes[:3])},..., or --attributes none"
        )
    made = Columns(found["id"], found["label"], text, image, vector, features, list(attributes))
    made.said.extend(_said(made, reading, guess.rest("other")))
    return made


class _Guess:
    def __init__(self, head: pa.Table, kinds: Mapping[str, Kind], reading: Reading) -> None:
        self.head, self.kinds = head, kinds
        named = (reading.get(part) for part in ("id_column", "label_column", "text_column"))
        self.taken = {name for name in (*named, *(reading.get("features") or ())) if isinstance(name, str)}

    def rest(self, kind: Kind) -> list[str]:
        return [name for name, its in self.kinds.items() if its == kind and name not in self.taken]

    def named(self, names: Sequence[str], kinds: set[str]) -> str | None:
        by_name = {name.lower().strip(): name for name in reversed(list(self.kinds)) if name not in self.taken}
        return next((by_name[n] for n in names if n in by_name and self.kinds[by_name[n]] in kinds), None)

    def distinct(self, never: set[str | None]) -> str | None:
        """The leftmost column of short words that differ from row to row."""
        for name in self.rest("text"):
            values = self.head[name].to_pylist()
            if (
                name not in never
                and name.lower().strip() not in _TEXTS
                and len(values) >= _IDS_ROWS
                and None not in values
                and len(set(values)) == len(values)
                and _mean_length(self.head[name]) < _LONG
            ):
                return name
        return None

    def only(self, kind: Kind) -> str | None:
        found = self.rest(kind)
        return found[0] if len(found) == 1 else None

    def text(self) -> str | None:
        """By its name; or the column with the longest words, if these are long and there are few numbers beside."""
        named = self.named(_TEXTS, {"text"})
        if named is not None or len(self.rest("number")) >= _FEW:
            return named
        lengths = {name: _mean_length(self.head[name]) for name in self.rest("text")}
        best = max(lengths, key=lambda name: lengths[name], default=None)
        return best if best is not None and lengths[best] >= _LONG else None


def _mean_length(column: pa.ChunkedArray) -> float:
    found = [len(value) for value in column.to_pylist() if value is not None]
    return sum(found) / len(found) if found else 0.0


def _check_named(where: str, kinds: Mapping[str, Kind], reading: Reading) -> None:
    named = {
        "--id-column": [reading.get("id_column")],
        "--label-column": [reading.get("label_column")],
        "--text-column": [reading.get("text_column")],
        "--features": reading.get("features") or [],
        "--attributes": reading.get("attributes") or [],
    }
    for option, names in named.items():
        for name in names:
            if name and name not in kinds:
                near = get_close_matches(name, kinds, 1)
                meant = f"; did you mean {near[0]!r}?" if near else "."
                raise SourceError(
                    f"{where} has no column {name!r} ({option}){meant} Its columns: {', '.join(map(repr, kinds))}"
                )
    for name in reading.get("features") or []:
        if kinds[name] not in {"number", "truth"} and not (kinds[name] == "vector" and len(named["--features"]) == 1):
            raise SourceError(
                f"{where}: column {name!r} cannot be a feature: it holds {kinds[name]}s, and features are columns of "
                "numbers, or one column of lists of numbers"
            )


def _check_stray(where: str, stray: Mapping[str, tuple[int, str]], names: Sequence[str]) -> None:
    for name in names:
        row, value = stray[name]
        raise SourceError(
            f"{where}, row {row}, column {name!r}: {value!r} is no number, and nearly all of the column are: correct "
            "it (or empty it, and give --fill 0), leave the column out with --features, or name it with --attributes "
            "to filter by it"
        )


def _check_some(where: str, kinds: Mapping[str, Kind], features: Sequence[str], other: str | None) -> None:
    if not features and other is None:
        raise SourceError(
            f"{where} has nothing to make vectors of: neither columns of numbers, nor a text, nor pictures. Name the "
            f"text with --text-column, or the columns of numbers with --features. Its columns: "
            + ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items())
        )


def _said(columns: Columns, reading: Reading, others: Sequence[str]) -> list[str]:
    """What was guessed, in sentences that name the option which says otherwise."""
    said = []
    if reading.get("id_column") is None:
        named = columns.id is None or columns.id.lower().strip() in _IDS
        why = "" if named else ", in which all that was read so far differs"
        said.append(
            f"Ids are column {columns.id!r}{why} (--id-column names another, or none)."
            if columns.id
            else "No column of ids: items are numbered (--id-column names one)."
        )
    if columns.label and not reading.get("label_column"):
        said.append(f"Labels are column {columns.label!r} (--label-column names another).")
    if columns.image:
        said.append(f"Pictures are column {columns.image!r}.")
    elif columns.vector and not reading.get("features"):
        said.append(f"Vectors are column {columns.vector!r} (--features names others).")
    elif columns.features and not reading.get("features"):
        few = ", ".join(columns.features[:6]) + (", ..." if len(columns.features) > 6 else "")
        said.append(f"Vectors are made of {len(columns.features)} columns of numbers: {few} (--features names others).")
    if columns.text and not reading.get("text_column"):
        made = "" if columns.features or columns.vector else ", and becomes the vectors"
        said.append(f"The text is column {columns.text!r}{made} (--text-column names another).")
    if columns.attributes and reading.get("attributes") is None:
        said.append(f"To filter by: {', '.join(columns.attributes)} (--attributes names others).")
    if others:
        said.append(f"Left out: {', '.join(others)}.")
    return said
