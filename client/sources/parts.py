"""What every source gives: parts of a pool, in an order that stays the same, each small enough to send at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from client.errors import LookaheadError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.generic]

PART_BYTES = 32 << 20
PART_ROWS = 10_000
Scalar = str | int | float | bool
Embed = Callable[[list[Any]], "Array"]  # texts, pictures or rows of numbers -> (N, D)


class SourceError(LookaheadError, ValueError):
    """Data cannot become items; the message names the file, row and column, and what would be right."""


class Reading(TypedDict, total=False):
    """How a source is read; what is left out is guessed, and the guess is stated."""

    id_column: str | None  # "" for none: items are numbered
    label_column: str | None
    text_column: str | None
    features: Sequence[str] | None  # columns that make the vectors; default: all that are numbers
    attributes: Sequence[str] | None  # columns that are kept to filter by; default: the rest
    fill: float | None  # stands in for numbers that are missing
    delimiter: str | None  # of a CSV file
    encoding: str | None  # of a CSV file; default utf-8
    dimensions: int | None  # of the vectors that texts become
    image_size: int | None  # to which pictures are scaled for the network
    embed: Embed | None  # texts, pictures or rows -> vectors (N, D)
    ids: Sequence[str] | None  # of an array's rows, or of texts
    labels: "Sequence[Any] | Array | None"  # of an array's rows, or of texts; None where there is none


@dataclass(frozen=True)
class Part:
    """Items that come one after another."""

    rows: int
    x: "Array | None" = None  # (N, ...); None where there are pictures
    pictures: list[bytes] | None = None
    ids: list[str] | None = None  # None: numbered
    texts: list[str] | None = None
    labels: list[str | None] | None = None
    attributes: list[dict[str, Scalar]] | None = None
    columns: tuple[str, ...] | None = None  # names of x's numbers, the same in all parts

    @property
    def bytes(self) -> int:
        """About what it takes to send."""
        pictures = sum(map(len, self.pictures or ()))
        return pictures + (0 if self.x is None else self.x.nbytes) + sum(map(len, self.texts or ()))


@dataclass(frozen=True)
class Source:
    """Items to be, from wherever."""

    name: str
    parts: Callable[[], Iterator[Part]]
    rows: int | None = None  # where that is known before
    kind: Literal["vectors", "texts", "pictures", "arrays"] = "arrays"
    said: list[str] = field(default_factory=list)  # what was guessed
    classes: Callable[[], list[str]] | None = None  # names in the order of a new project; None: no labels in here
    image_size: int | None = None


def merged(parts: Iterable[Part]) -> Iterator[Part]:
    """The same items in parts of about PART_BYTES, and at most PART_ROWS rows."""
    waiting: list[Part] = []
    for part in parts:
        if waiting and (
            sum(each.bytes for each in (*waiting, part)) > PART_BYTES
            or sum(each.rows for each in (*waiting, part)) > PART_ROWS
        ):
            yield _joined(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    import numpy as np

    first = parts[0]
    lists: dict[str, Any] = {}
    for each in fields(Part):
        if isinstance(getattr(first, each.name), list):
            lists[each.name] = [value for part in parts for value in getattr(part, each.name)]
    x = None if first.x is None else np.concatenate([part.x for part in parts if part.x is not None])
    return replace(first, rows=sum(part.rows for part in parts), x=x, **lists)


def class_names(found: Iterable[str]) -> list[str]:
    """Classes in the order that a person would give them: numbers by size, words by the alphabet."""
    distinct = set(found)
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return sorted(distinct)


def class_name(value: Any) -> str | None:
    """A label as the name of a class; None for what is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def embedded(embed: Embed, given: list[Any], rows: int, where: str) -> "Array":
    """What the caller's function makes of the items, as (N, ...). Raises SourceError for another number of rows."""
    import numpy as np

    found = embed(given)
    made = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found)
    if made.ndim < 2 or len(made) != rows or made.dtype.kind not in "fiub":
        raise SourceError(
            f"{where}: embed gave {made.dtype} of shape {list(made.shape)} for {rows} items: it has to give one row "
            f"of numbers for each, of shape [{rows}, dimensions]"
        )
    return made
