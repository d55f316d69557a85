"""What would be in the log: every record of a block through the chain of the processes, as JSON."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from telemetry import logs


class Written:
    """The log so far."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self, logger: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if logger is None or line["logger"] == logger]


@contextmanager
def logged(level: int = logging.DEBUG) -> Iterator[Written]:
    """Everything from `level` on that our own loggers say inside the block, and what libraries warn of."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter("json", "test"))
    root = logging.getLogger()
    before = {name: logging.getLogger(name).level for name in logs.OURS}
    for name in logs.OURS:
        logging.getLogger(name).setLevel(level)
    root.addHandler(handler)
    try:
        yield Written(stream)
    finally:
        root.removeHandler(handler)
        for name, was in before.items():
            logging.getLogger(name).setLevel(was)
