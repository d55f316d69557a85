"""Attributes of items, and filters over them.

Numbers are the decimals that JSON writes: 1 equals 1.0, and nothing is rounded. Truth values are no numbers.
"""

import sys
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    FailFast,
    Field,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)

from api_schemas.common import Request

ATTRIBUTES_MAX = 32  # keys of one item
_TEXT_MAX = 512  # characters of a value
_CONDITIONS_MAX = 16
_CHOICES_MAX = 1000
_NAMES = {dict: "an object", list: "a list", type(None): "null", bool: "a truth value", str: "a string"}

Scalar = str | int | float | bool


def at_most(limit: int, what: str) -> BeforeValidator:
    """Refuses an object with too many entries before any entry is looked at: each wrong one would be kept."""

    def check(given: Any) -> Any:
        if isinstance(given, dict) and len(given) > limit:
            raise ValueError(f"at most {limit} {what}, not {len(given)}")
        return given

    return BeforeValidator(check)


def _number(given: Any) -> int | float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"must be a number, not {_name(given)}")
    # Past this a number is no longer finite where it is read as a float; NaN fails the comparison too.
    if not abs(given) <= sys.float_info.max:
        raise ValueError(f"a number must be finite, of at most {sys.float_info.max:.1e} either way")
    return given


def _value(given: Any) -> Scalar:
    if isinstance(given, bool):
        return given
    if isinstance(given, str):
        return _text(given)
    if isinstance(given, int | float):
        return _number(given)
    hint = '; {"exists": false} finds items without the key' if given is None else ""
    raise ValueError(f"a value is a string, a finite number, true or false, not {_name(given)}{hint}")


def _text(given: str) -> str:
    if len(given) > _TEXT_MAX:
        raise ValueError(f"a string has at most {_TEXT_MAX} characters, not {len(given)}")
    if "\0" in given:
        raise ValueError("a string cannot hold the character NUL")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} of the string is half of a surrogate pair") from None
    return given


def _name(given: Any) -> str:
    return _NAMES.get(type(given), type(given).__name__)


# No control characters, as in ids.
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]
Value = Annotated[
    Scalar,
    PlainValidator(_value),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": _TEXT_MAX}, {"type": "number"}, {"type": "boolean"}]}),
]

_ENTRY: TypeAdapter[dict[str, Scalar | None]] = TypeAdapter(dict[Key, Value | None])


def _changes(given: Any) -> dict[str, Scalar | None]:
    if not isinstance(given, dict):
        raise ValueError(f"must be an object of keys and values, not {_name(given)}")
    # Entry by entry, up to the first wrong one: a body of millions would fill the memory with its errors.
    for key, value in given.items():
        _ENTRY.validate_python({key: value})
    return given


Changes = Annotated[dict[str, Scalar | None], PlainValidator(_changes, json_schema_input_type=dict[Key, Value | None])]


class Range(Request):
    """A number between bounds, which belong to the range."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError('say "min", "max" or both, as numbers, or "exists" as true or false')
        return self


class Exists(Request):
    """Whether the item has the key at all."""

    exists: Annotated[bool, Field(strict=True)]


Choices = Annotated[list[Value], Field(min_length=1, max_length=_CHOICES_MAX)]
_CHOICES: TypeAdapter[list[Scalar]] = TypeAdapter(Annotated[Choices, FailFast()])


def _condition(given: Any) -> Scalar | list[Scalar] | dict[str, Scalar]:
    if isinstance(given, list):
        return _CHOICES.validate_python(given)
    if isinstance(given, dict):
        form = Exists if "exists" in given else Range
        checked: dict[str, Scalar] = form.model_validate(given).model_dump(exclude_none=True)
        return checked
    return _value(given)


# What comes out is plain JSON: it may be stored with a job, and is what `store.pools` takes.
Condition = Annotated[
    Scalar | list[Scalar] | dict[str, Scalar],
    PlainValidator(_condition, json_schema_input_type=Value | Choices | Range | Exists),
]
Filter = Annotated[dict[Key, Condition], Field(max_length=_CONDITIONS_MAX), at_most(_CONDITIONS_MAX, "keys")]
