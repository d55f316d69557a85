"""Logs: one line per event, from our own code and from the libraries alike, through one chain of processors.

Code logs with the standard library (`logging.getLogger(__name__)`, fields as `extra`). What belongs to a request or a
job is said once, in `begin` or `scope`, and every line written inside carries it.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from telemetry.redaction import redacted

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

OURS = ("client", "demo", "embedded", "migrations", "service", "store", "telemetry", "worker")
# These log through handlers of their own unless told otherwise.
_WITH_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "rq.worker", "rq.job", "sqlalchemy.engine")
_FRAMES_MAX = 30
_FIRST = ("timestamp", "level", "logger", "event")  # where eyes begin to read

_fields: ContextVar[dict[str, Any] | None] = ContextVar("log_fields", default=None)

log = logging.getLogger(__name__)


def begin(**fields: Any) -> None:
    """Every line of this task from here on carries these fields, also those written after an error has left us."""
    _fields.set(fields)


@contextmanager
def scope(**fields: Any) -> Iterator[None]:
    """Every line inside the block carries these fields, besides those around it."""
    token = _fields.set({**(_fields.get() or {}), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def note(**fields: Any) -> None:
    """Add to the fields in force, for everyone who shares them: a request's threads and its middleware."""
    current = _fields.get()
    if current is not None:
        current.update(fields)


def configure(form: Format, level: Level, process: str, stream: TextIO | None = None) -> None:
    """Send everything that logs to `stream` (default: standard error); `process` is a field of every line."""
    stream = sys.stderr if stream is None else stream
    if form == "auto":
        form = "console" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(form, process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries stay at warnings whatever is asked for: below, they tell of statements, rows and headers.
    root.setLevel(logging.WARNING)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    for name in OURS:
        logging.getLogger(name).setLevel(wanted)
    for name in _WITH_HANDLERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    logging.getLogger("uvicorn").setLevel(max(wanted, logging.INFO))
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def formatter(form: Literal["json", "console"], process: str) -> structlog.stdlib.ProcessorFormatter:
    """The chain that every record goes through."""

    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        first = {name: event[name] for name in _FIRST}
        return {**first, "process": process, **event, **(_fields.get() or {})}

    gathering: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        named,
    ]
    if form == "json":
        # Never with local variables: they hold inputs and keys.
        transformer = ExceptionDictTransformer(show_locals=False, max_frames=_FRAMES_MAX)
        ending: list[Processor] = [
            structlog.processors.ExceptionRenderer(transformer),
            _cleaned,
            structlog.processors.JSONRenderer(),
        ]
    else:
        ending = [
            structlog.processors.format_exc_info,
            _cleaned,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=gathering,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )


def _cleaned(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # The message once more, with the codes for colours: uvicorn's.
    event.pop("color_message", None)
    cleaned: EventDict = redacted(event)
    return cleaned


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("ended by an error that nothing caught", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    name = "" if arguments.thread is None else arguments.thread.name
    log.error("thread %s ended by an error", name, exc_info=arguments.exc_value)
