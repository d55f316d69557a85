"""What waits, written twice: here so that the caller waits too, in `client.aio.waiting` so that others can go on.

The rest of the SDK is written once; `client.aio.generate` makes the asynchronous part of it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Annotated, TypeAlias, TypeVar, TypeVarTuple

import httpx

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Answered: TypeAlias = Annotated[T, "what a callback answers"]
Told: TypeAlias = None  # what a callback that is told of progress gives back
BLOCK = 1 << 18


class Http(httpx.Client):
    """One connection pool."""


def pause(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def tell(callback: Callable[[*Ts], Told] | None, *values: *Ts) -> None:
    """Tell whoever wants to know."""
    if callback is not None:
        callback(*values)


def asked(callback: Callable[[*Ts], T], *values: *Ts) -> T:
    """The callback's answer."""
    return callback(*values)


def each(items: Iterable[T]) -> Iterator[T]:
    """Items that take time to make."""
    yield from items


def blocks(file: IO[bytes], offset: int, size: int, told: Callable[[int], None]) -> Iterator[bytes]:
    """A stretch of a file in pieces; `told` learns the offset after each. Raises ValueError where it ends early."""
    file.seek(offset)
    end = offset + size
    while offset < end:
        block = file.read(min(BLOCK, end - offset))
        if not block:
            raise ValueError("the file has become shorter while it was sent")
        yield block
        offset += len(block)
        told(offset)


def lines(answer: httpx.Response) -> Iterator[str]:
    """The lines of an answer as they come."""
    yield from answer.iter_lines()


def read_all(answer: httpx.Response) -> None:
    """Read the rest of an answer."""
    answer.read()
