"""`python -m service.decoding`: decodes one upload, from standard input, and ends.

A process of its own: what a decoder does to a hostile file, it does to no memory of the service, within a limit.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any

from service.decoding.order import Decoded, Order, RefusedError

_CPU_SECONDS = 3600
_PARENT_DEATH = 1  # prctl's PR_SET_PDEATHSIG


def main() -> None:
    """Obey the order on the command line; say what came of it on standard output."""
    order = Order(**json.loads(sys.argv[1]))
    _confine(order)
    try:
        said: dict[str, Any] = {"decoded": asdict(_decoded(order))}
    except RefusedError as error:
        said = {"refused": {"code": error.code, "detail": error.detail, "status": error.status}}
    except MemoryError:
        detail = f"decoding it takes more than {order.memory_bytes} bytes of memory: send it in smaller parts"
        said = {"refused": {"code": "expands_too_much", "detail": detail, "status": 413}}
    except OSError as error:
        # Only of our own files: those of the upload are refusals by now.
        said = {"failed": error.errno}
    json.dump(said, sys.stdout)


def _decoded(order: Order) -> Decoded:
    with (
        os.fdopen(0, "rb", closefd=False) as file,
        os.fdopen(order.array, "r+b", closefd=False) as array,
        os.fdopen(order.contents, "r+b", closefd=False) as contents,
        os.fdopen(order.lines, "w", encoding="utf-8", closefd=False) as lines,
    ):
        file.seek(0)
        if order.kind == "pictures":
            from service.decoding import pictures

            return pictures.decode(order, file, array, contents)
        from service.decoding import tables

        return tables.decode(order, file, array, contents, lines)


def _confine(order: Order) -> None:
    """No more memory than the order says, and no longer life than the service's."""
    # What is mapped is not held: the upload itself may be mapped, once.
    _limit(resource.RLIMIT_AS, order.memory_bytes + order.size)
    _limit(resource.RLIMIT_DATA, order.memory_bytes)
    _limit(resource.RLIMIT_CPU, _CPU_SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if order.parent not in {0, os.getppid()}:
        # It was gone before we asked to go with it.
        sys.exit("nobody waits for this upload any more")


def _limit(what: int, most: int) -> None:
    """At most so much, and no more than we have been given."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
