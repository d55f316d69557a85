"""The chain of processors: one shape for all lines, fields of requests and jobs, tracebacks, nothing secret."""

import json
import logging
import subprocess
import sys
import threading
from contextvars import copy_context

import pytest

from telemetry import logs
from telemetry.redaction import redacted
from tests.logged import logged

KEY = "lk_0a1b2c3d_" + "s3cr3t" * 7
log = logging.getLogger("service.tests")

CONFIGURED = """
import logging, sys, threading, warnings
from telemetry import logs
logs.configure("json", "info", "proc-1", sys.stdout)
for name in ("service.x", "uvicorn.error", "rq.worker", "sqlalchemy.engine"):
    logging.getLogger(name).warning("from %s", name)
logging.getLogger("service.x").debug("too quiet")
logging.getLogger("sqlalchemy.engine").info("a statement with its parameters")
logging.getLogger("botocore.auth").debug("a signature")
warnings.warn("careful")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise KeyError("gone")
"""


def test_one_shape_for_ours_and_for_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True)
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines[:4]] == [
        f"from {name}" for name in ("service.x", "uvicorn.error", "rq.worker", "sqlalchemy.engine")
    ]
    for line in lines:
        assert {"timestamp", "level", "logger", "event", "process"} <= line.keys()
        assert line["process"] == "proc-1"
    assert "careful" in lines[4]["event"]
    assert [line["exception"][0]["exc_type"] for line in lines[5:]] == ["ZeroDivisionError", "KeyError"]


def test_console_lines_are_for_people() -> None:
    record = log.makeRecord("service.x", logging.WARNING, "f", 1, "it %s", ("happens",), None)
    line = logs.formatter("console", "p").format(record)
    assert "it happens" in line
    assert not line.startswith("{")


def test_fields_hold_inside_their_scope_and_for_whoever_shares_it() -> None:
    with logged() as written:
        with logs.scope(job_id="job-1"):
            with logs.scope(attempt=2):
                log.info("inner")
            thread = threading.Thread(target=copy_context().run, args=(logs.note,), kwargs={"late": True})
            thread.start()
            thread.join()
            log.info("outer")
        log.info("after")
        logs.note(nobody="listens")
    inner, outer, after = written.lines("service.tests")
    assert (inner["job_id"], inner["attempt"]) == ("job-1", 2)
    assert (outer["job_id"], outer["late"], "attempt" in outer) == ("job-1", True, False)
    assert not {"job_id", "late", "nobody"} & after.keys()


def test_tracebacks_are_fields_without_local_variables() -> None:
    def fails(content: str) -> None:
        raise ValueError("no good")

    with logged() as written:
        try:
            fails("what the annotator wrote")
        except ValueError:
            log.exception("failed", extra={"route": "/label"})
    (line,) = written.lines("service.tests")
    assert line["route"] == "/label"
    (told,) = line["exception"]
    assert (told["exc_type"], told["exc_value"]) == ("ValueError", "no good")
    assert told["frames"][-1]["name"] == "fails"
    assert "what the annotator wrote" not in written.text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"key {KEY} is odd", "key lk_0a1b2c3d_*** is odd"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer ***"),
        ("postgresql+psycopg://app:p%40ss/word@db:5432/x", "postgresql+psycopg://app:***@db:5432/x"),
        ("redis://:hunter2@cache:6379/0 refused", "redis://:***@cache:6379/0 refused"),
        ("unix:///run/s.sock and http://host:8000/x", "unix:///run/s.sock and http://host:8000/x"),
        ("host=db password=hunter2 dbname=x", "host=db password=*** dbname=x"),
        ("[type=int, input_value='mine', input_type=str]", "[type=int, input_value=***, input_type=str]"),
        ("DETAIL:  Failing row contains (1, mine).", "DETAIL:  Failing row contains (***)."),
    ],
)
def test_secrets_are_taken_out(text: str, kept: str) -> None:
    assert redacted(text) == kept
    assert redacted({"a": [text, (text,)], "n": 1.5, "none": None}) == {"a": [kept, [kept]], "n": 1.5, "none": None}


def test_secret_fields_and_odd_values() -> None:
    class Odd:
        def __str__(self) -> str:
            return KEY

    with logged() as written:
        log.warning("odd", extra={"Authorization": "x", "value": Odd(), "password": "y"})
    (line,) = written.lines("service.tests")
    assert (line["Authorization"], line["password"], line["value"]) == ("***", "***", "lk_0a1b2c3d_***")
