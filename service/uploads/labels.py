"""Label uploads: CSV with a header, or one JSON object per line."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from api_schemas.labels import LabelEntry
from service.problems import InvalidError, TooLargeError

LABELS_MAX = 100_000
_COLUMNS = {"item", "label", "annotator", "event_id"}


def read_csv(data: bytes) -> list[LabelEntry]:
    """Rows under a header with item, label and perhaps annotator, event_id. Raises InvalidError."""
    reader = csv.DictReader(io.StringIO(_text(data), newline=""), strict=True)
    try:
        _check_header(reader.fieldnames or [])
        rows = [
            (reader.line_num, {key: value for key, value in row.items() if key in {"item", "label"} or value})
            for row in reader
        ]
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
    # At line feeds alone: str.splitlines would cut at U+2028 and others, which JSON has inside strings.
    for line, text in enumerate(_text(data).split("\n"), start=1):
        if not text.strip(" \t\r"):
            continue
        try:
            rows.append((line, json.loads(text)))
        except (ValueError, RecursionError) as error:
            raise InvalidError("invalid_labels", f"line {line} is not JSON: {error}") from error
    return _entries(rows)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidError("invalid_labels", f"the file is not UTF-8 text: {error}") from error


def _entries(rows: Iterable[tuple[int, Any]]) -> list[LabelEntry]:
    entries: list[LabelEntry] = []
    for line, row in rows:
        if len(entries) == LABELS_MAX:
            raise TooLargeError("too_many_labels", f"an upload may hold {LABELS_MAX} labels: send it in parts")
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
