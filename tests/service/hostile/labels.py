"""Hostile files of labels."""

from typing import Any

from tests.service.hostile import Hostile

CSV, LINES = "text/csv", "application/x-ndjson"


def files() -> dict[str, tuple[str, Hostile]]:
    found: dict[str, tuple[str, Hostile]] = {}

    def add(name: str, kind: str, make: Any, status: int = 422, code: str = "invalid_labels") -> None:
        assert name not in found
        found[name] = kind, Hostile(make if callable(make) else lambda: make, status, code)

    head = b"item,label\n"
    add("csv with NUL", CSV, head + b"item-0,a\0\n", 422, "unknown_class")
    add("csv with NUL in the item", CSV, head + b"item\0-0,a\n")
    add("csv of a million columns", CSV, lambda: b"item,label" + b",x" * 1_000_000 + b"\n")
    add("csv with a row of a million columns", CSV, lambda: head + b"item-0,a" + b",x" * 1_000_000 + b"\n")
    add("csv with an open quote of 31 MB", CSV, lambda: head + b'item-0,"' + b"x" * (31 << 20))
    add("csv of 31 MB of empty lines", CSV, lambda: head + b"\n" * (31 << 20), 413, "too_many_labels")
    add("csv with a field of 1 MB", CSV, lambda: head + b"item-0," + b"x" * (1 << 20) + b"\n")
    add("csv with a quote within", CSV, head + b'item-0,"a"b\n')
    add("csv without a header", CSV, b"item-0,a\n")
    add("csv with the header twice", CSV, b"item,item,label\nitem-0,item-1,a\n")
    add("csv in UTF-16", CSV, "item,label\nitem-0,a\n".encode("utf-16"))
    add("csv in Latin-1", CSV, head + "item-0,é\n".encode("latin-1"))
    add("csv of 200,000 rows", CSV, lambda: head + b"item-0,a\n" * 200_000, 413, "too_many_labels")
    add("csv with a formula", CSV, head + b"=cmd|' /C calc'!A0,a\n", 404, "unknown_item")
    add("csv with half a row", CSV, head + b"item-0\n")
    add("csv that is a zip", CSV, b"PK\x03\x04" + b"\0" * 100)
    add("csv with carriage returns", CSV, b"item,label\ritem-0,a\r\r\ritem-1")
    add("csv with a byte order mark within", CSV, head + b"\xef\xbb\xbfitem-0,a\n", 404, "unknown_item")
    good = b'{"item": "item-0", "label": "a"}\n'
    add("lines that nest", LINES, lambda: b'{"item": ' + b"[" * 500_000)
    add("lines of objects that nest", LINES, lambda: b'{"item":' * 200_000)
    add("lines with NaN", LINES, b'{"item": "item-0", "label": NaN}\n')
    add("lines with infinity", LINES, b'{"item": "item-0", "label": Infinity}\n')
    add("lines with a huge integer", LINES, b'{"item": "item-0", "label": ' + b"9" * 100_000 + b"}\n")
    add("lines with a long float", LINES, b'{"item": "item-0", "label": 1e999}\n')
    add("lines with a key twice", LINES, b'{"item": "item-0", "item": "item-1", "label": "a"}\n')
    add("lines with more keys", LINES, b'{"item": "item-0", "label": "a", "__class__": 1}\n')
    add("lines of 200,000", LINES, lambda: good * 200_000, 413, "too_many_labels")
    add("lines of numbers", LINES, b"1\n2\n")
    add("lines of null", LINES, b"null\n")
    add("lines with half a character", LINES, b'{"item": "\\ud800", "label": "a"}\n')
    add("lines with NUL", LINES, b'{"item": "\\u0000", "label": "a"}\n')
    add("lines in UTF-16", LINES, '{"item": "item-0", "label": "a"}\n'.encode("utf-16"))
    add("lines with true for a class", LINES, b'{"item": "item-0", "label": true}\n')
    add("lines with a float for a class", LINES, b'{"item": "item-0", "label": 1.0}\n')
    add("lines with a class of -1", LINES, b'{"item": "item-0", "label": -1}\n')
    add("lines with a string of 20 MB", LINES, lambda: b'{"item": "' + b"x" * (20 << 20) + b'", "label": "a"}\n')
    add("lines of one list", LINES, b"[" + good.strip() + b"]\n")
    add("lines of 31 MB of blanks", LINES, lambda: b" \n" * (15 << 20), 413, "too_many_labels")
    return found
