"""Which column of a table is what: ids, texts, features, attributes."""

from dataclasses import dataclass

import pyarrow as pa

from service.decoding.order import RefusedError

COLUMNS_MAX = 10_000
DEPTH_MAX = 3  # of lists in lists
ATTRIBUTES_MAX = 32
_IDS, _TEXT, _X = ("id", "ids"), "text", "x"
_ANSWERS = ("label", "labels")
_NAMED = 5
_PANDAS_INDEX = "__index_level_"
_REMEDIES = "leave them out, or send the form field attributes=true to keep them as attributes of the items"


@dataclass(frozen=True)
class Columns:
    """Columns by their use; `dtype` is that of the numbers as they are stored."""

    ids: str | None
    text: str | None
    features: list[str]
    nested: bool  # whether the only feature is a list
    attributes: list[str]
    dtype: str

    @property
    def wanted(self) -> list[str]:
        """All that is read."""
        return [*filter(None, (self.ids, self.text)), *self.features, *self.attributes]


def sort(schema: pa.Schema, *, attributes: bool) -> Columns:
    """The columns of a schema by their use. Raises RefusedError."""
    if len(schema) > COLUMNS_MAX:
        raise RefusedError("invalid_table", f"the table has {len(schema)} columns; {COLUMNS_MAX} is the most", 413)
    types = {field.name: stored_type(field.type) for field in schema}
    if len(types) < len(schema):
        raise RefusedError("invalid_table", "two columns of the table have one name")
    if index := [name for name in types if name.startswith(_PANDAS_INDEX)]:
        raise RefusedError(
            "invalid_table", f"column {index[0]!r} is pandas' index: write with index=False, or name it id"
        )
    ids = [name for name in _IDS if name in types]
    if len(ids) > 1:
        raise RefusedError("invalid_table", "the table has a column id and a column ids: keep one of them")
    _check_text_type(types, [*ids, *([_TEXT] if _TEXT in types else [])], ids)
    used = {*ids, _TEXT}
    rest = [name for name in types if name not in used]
    features = [_X] if _X in types and _depth(types[_X]) else [name for name in rest if _is_number(types[name])]
    left = [name for name in rest if name not in features]
    _check_features(types, features, left)
    if left and not attributes:
        raise RefusedError("invalid_table", f"columns {_listed(left)} are no features: {_REMEDIES}")
    _check_attributes(types, left)
    nested = bool(_depth(types[features[0]]))
    numbers = [_number_of(types[name]) for name in features]
    return Columns(
        ids[0] if ids else None, _TEXT if _TEXT in types else None, features, nested, left, _dtype_of(numbers)
    )


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type without what an extension adds to it."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def is_text(kind: pa.DataType) -> bool:
    """Strings, also through a dictionary."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def is_list(kind: pa.DataType) -> bool:
    """Lists of all kinds that have their numbers in one piece."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _depth(kind: pa.DataType) -> int:
    depth = 0
    while is_list(kind) and depth <= DEPTH_MAX:
        kind, depth = stored_type(kind.value_type), depth + 1
    return depth


def _number_of(kind: pa.DataType) -> pa.DataType:
    while is_list(kind):
        kind = stored_type(kind.value_type)
    return kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_text_type(types: dict[str, pa.DataType], names: list[str], ids: list[str]) -> None:
    for name in names:
        if not is_text(types[name]) and not (name in ids and pa.types.is_integer(types[name])):
            raise RefusedError("invalid_table", f"column {name!r} is {types[name]}: it must hold strings"[:1000])


def _check_features(types: dict[str, pa.DataType], features: list[str], left: list[str]) -> None:
    if not features:
        raise RefusedError(
            "x_missing",
            "the table has neither a column x of lists of numbers nor columns of numbers"
            + (f", but {_listed(left)}" if left else "")
            + ": text_vectors of the Python client makes vectors of texts",
        )
    if features != [_X]:
        if answers := [name for name in features if name in _ANSWERS]:
            raise RefusedError(
                "invalid_table", f"column {answers[0]!r} would tell the answer as a feature: send it to POST /labels"
            )
        return
    if _depth(types[_X]) > DEPTH_MAX:
        raise RefusedError("invalid_table", f"column 'x' has lists in lists deeper than {DEPTH_MAX}")
    if not _is_number(_number_of(types[_X])):
        raise RefusedError("unsupported_dtype", f"column 'x' is {types[_X]}: it must hold lists of numbers"[:1000])


def _check_attributes(types: dict[str, pa.DataType], names: list[str]) -> None:
    if len(names) > ATTRIBUTES_MAX:
        raise RefusedError(
            "invalid_table", f"{len(names)} columns would be attributes, {ATTRIBUTES_MAX} is the most: {_listed(names)}"
        )
    for name in names:
        kind = types[name]
        if not (is_text(kind) or _is_number(kind) or pa.types.is_boolean(kind)):
            raise RefusedError(
                "invalid_table",
                f"column {name[:200]!r} is {str(kind)[:200]}: attributes are strings, numbers or truth values",
            )


def _dtype_of(kinds: list[pa.DataType]) -> str:
    if all(pa.types.is_integer(kind) for kind in kinds):
        return "<i8" if not any(pa.types.is_uint64(kind) for kind in kinds) else "<u8" if len(kinds) == 1 else "<f8"
    wide = any(kind.bit_width > (32 if pa.types.is_floating(kind) else 16) for kind in kinds)
    return "<f8" if wide else "<f4"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name[:100]) for name in names[:_NAMED]) + more
