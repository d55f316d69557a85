"""Label uploads: CSV with a header, or one JSON object per line."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from api_schemas.labels import LabelEntry
from service.problems import InvalidError, TooLargeError

LABELS_MAX = 100_000
_LINES_MAX = 500_000  # empty ones among them
_COLUMNS = {"item", "label", "annotator", "event_id"}


def read_csv(data: bytes) -> list[LabelEntry]:
    """Rows under a header with item, label and perhaps annotator, event_id. Raises InvalidError."""
    reader = csv.DictReader(_lines(data, ""), strict=True)
    try:
        _check_header(reader.fieldnames or [])
        rows: list[tuple[int, dict[Any, Any]]] = []
        for row in reader:
            _check_count(rows)
            rows.append(
                (reader.line_num, {key: value for key, value in row.items() if key in {"item", "label"} or value})
            )
    except csv.Error as error:
        raise InvalidError("invalid_labels", f"line {reader.line_num} is not CSV: {error}") from error
    for line, row in rows:
        if None in row or None in row.values():
            raise InvalidError("invalid_labels", f"line {line} has not as many fields as the header")
        if row["label"] == "":
            raise InvalidError(
                "invalid_labels", f"line {line} has no label; to withdraw one, send JSON with label null"
            )
    return _entries(rows)


def _check_header(names: Sequence[str]) -> None:
    if not {"item", "label"} <= set(names) <= _COLUMNS:
        raise InvalidError(
            "invalid_labels",
            "the first line must name the columns: item, label and perhaps annotator, event_id",
        )
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise InvalidError("invalid_labels", f"the first line names the column {twice[0]!r} twice: keep one of them")


def read_json_lines(data: bytes) -> list[LabelEntry]:
    """One object with item and label per line. Raises InvalidError."""
    rows: list[tuple[int, Any]] = []
    # At line feeds alone: a line may have U+2028 and others inside JSON's strings.
    for line, text in enumerate(_lines(data, "\n"), start=1):
        if not text.strip(" \t\r\n"):
            continue
        _check_count(rows)
        try:
            rows.append((line, json.loads(text, object_pairs_hook=_distinct)))
        except (ValueError, RecursionError) as error:
            raise InvalidError("invalid_labels", f"line {line} is not JSON: {error}") from error
    return _entries(rows)


def _check_count(rows: Sequence[Any]) -> None:
    if len(rows) == LABELS_MAX:
        raise TooLargeError("too_many_labels", f"an upload may hold {LABELS_MAX} labels: send it in parts")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _lines(data: bytes, ending: str) -> Iterator[str]:
    """The text line by line: decoded as it is read, so that a large file is in memory once.

    A line ends as `ending` says: "" stands for line feeds and carriage returns.
    """
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=ending)
    try:
        for number, line in enumerate(text):
            if number == _LINES_MAX:
                raise TooLargeError("too_many_labels", f"an upload may have {_LINES_MAX} lines: send it in parts")
            yield line
    except UnicodeDecodeError as error:
        raise InvalidError("invalid_labels", f"the file is not UTF-8 text: {error}") from error


def _entries(rows: Iterable[tuple[int, Any]]) -> list[LabelEntry]:
    entries: list[LabelEntry] = []
    for line, row in rows:
        try:
            entries.append(LabelEntry.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise InvalidError("invalid_labels", f"line {line}: {where}{': ' if where else ''}{message}") from error
    if not entries:
        raise InvalidError("invalid_labels", "the file holds no label")
    return entries
