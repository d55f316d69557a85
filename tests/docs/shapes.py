"""Whether what a page shows has the shape of what came out: numbers, ids and times may differ, the rest may not."""

import json
import re
from typing import Any

# An id or a number in a line of text; what stands before and after it stays.
_VARIES = re.compile(r"\b[0-9a-f]*\d[0-9a-f]{7,}\b|\d[\d,.:]*(?:e[-+]?\d+)?")
_PARTS = re.compile(r'[\s"=,{}()-]+')


def json_differs(shown: Any, actual: Any, place: str = "$") -> str | None:
    """The first place where the shape differs; None if it does not. What is shown may leave fields out."""
    if isinstance(shown, dict):
        if not isinstance(actual, dict):
            return f"{place}: an object is shown, {actual!r} came"
        if missing := shown.keys() - actual.keys():
            return f"{place}: {sorted(missing)} shown but not there; there are {sorted(actual)}"
        differing = (json_differs(value, actual[key], f"{place}.{key}") for key, value in shown.items())
        return next((found for found in differing if found), None)
    if isinstance(shown, list):
        if not isinstance(actual, list) or (shown and not actual):
            return f"{place}: a list is shown, {actual!r} came"
        pairs = zip(shown, actual, strict=False)
        return next((found for n, (a, b) in enumerate(pairs) if (found := json_differs(a, b, f"{place}[{n}]"))), None)
    if _kind(shown) != _kind(actual):
        return f"{place}: {shown!r} is shown, {actual!r} came"
    return None


def text_differs(shown: str, actual: str) -> str | None:
    """The first shown line without its like in what was printed; a line `...` stands for lines left out.

    Lines are alike if they have as many words and most of these are equal: a class's name may be another.
    """
    printed = [_words(line) for line in actual.splitlines()]
    for line in shown.splitlines():
        if line.strip() not in ("", "...") and not any(_alike(_words(line), other) for other in printed):
            return f"shown: {line!r}\nprinted:\n{actual}"
    return None


def output_differs(language: str, shown: str, actual: str) -> str | None:
    """As the two above, by the language of the block; JSON is looked for in what was printed."""
    if language != "json":
        return text_differs(shown, actual)
    try:
        return json_differs(json.loads(shown), json.loads(actual))
    except json.JSONDecodeError as error:
        return f"{error}: {actual[:300]!r}"


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def _words(line: str) -> list[str]:
    return _PARTS.sub(" ", _VARIES.sub("0", line)).split()


def _alike(shown: list[str], printed: list[str]) -> bool:
    equal = sum(a == b for a, b in zip(shown, printed, strict=False))
    return len(shown) == len(printed) and 2 * equal > len(shown)
