"""What must not be in a log, taken out of everything that is about to be written."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"

_SECRET_FIELDS = frozenset({"authorization", "password", "secret", "token", "api_key", "cookie"})
_PATTERNS = (
    # Keys of ours: the prefix tells people which one it is, the rest is the secret.
    (re.compile(r"\blk_([0-9a-f]{8})_[A-Za-z0-9_-]+"), rf"lk_\1_{HIDDEN}"),
    # The same of Label Studio's addresses of ours.
    (re.compile(r"\blst_([0-9a-f]{8})_[A-Za-z0-9_-]+"), rf"lst_\1_{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=*-]{8,}"), rf"\1 {HIDDEN}"),
    # Passwords in addresses of servers, and in libpq's own spelling of them.
    (re.compile(r"(://[^\s:@/]*):\S+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)\b(password|passwd|secret|token|api_key)( ?= ?)[^\s&]+"), rf"\1\2{HIDDEN}"),
    # What pydantic and PostgreSQL quote of the value they refused.
    (re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL), f"input_value={HIDDEN}"),
    (re.compile(r"(Failing row contains) \(.*\)", re.DOTALL), rf"\1 ({HIDDEN})"),
)

# Every pattern needs one of these: most strings have none, and are done after one look.
_SUSPECT = re.compile(r"lk_|lst_|://|=|Failing row|(?i:bearer|basic)")


def redacted_text(text: str) -> str:
    """The text without keys, passwords and quoted input."""
    if not _SUSPECT.search(text):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted(value: Any) -> Any:
    """The same structure with every string in it redacted, and what secret fields hold hidden."""
    if isinstance(value, str):
        return redacted_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: HIDDEN if str(key).lower() in _SECRET_FIELDS else redacted(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [redacted(entry) for entry in value]
    return redacted_text(str(value))
