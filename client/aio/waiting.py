"""What waits, so that others can go on: the twin of `client.waiting`, with the same names."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import IO, TypeAlias, TypeVar, TypeVarTuple

import httpx

from client.waiting import BLOCK

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Answered: TypeAlias = T | Awaitable[T]  # what a callback answers
Told: TypeAlias = Awaitable[None] | None  # what a callback that is told of progress gives back
_END = object()


class Http(httpx.AsyncClient):
    """One connection pool."""

    async def close(self) -> None:
        """Close the connections."""
        await self.aclose()


async def pause(seconds: float) -> None:
    """Let others go on for a while."""
    await asyncio.sleep(seconds)


async def tell(callback: Callable[[*Ts], Told] | None, *values: *Ts) -> None:
    """Tell whoever wants to know, and wait if that takes time."""
    if callback is not None:
        said = callback(*values)
        if said is not None:
            await said


async def asked(callback: Callable[[*Ts], T | Awaitable[T]], *values: *Ts) -> T:
    """The callback's answer, waited for if need be."""
    answer = callback(*values)
    if isawaitable(answer):
        found: T = await answer
        return found
    return answer


async def each(items: Iterable[T]) -> AsyncIterator[T]:
    """Items that take time to make: they are made on another thread, one at a time."""
    iterator = iter(items)
    while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield item  # type: ignore[misc]  # the end is told apart by identity


async def blocks(
    file: IO[bytes], offset: int, size: int, told: Callable[[int], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """A stretch of a file in pieces; `told` learns the offset after each. Raises ValueError where it ends early."""
    file.seek(offset)
    end = offset + size
    while offset < end:
        block = await asyncio.to_thread(file.read, min(BLOCK, end - offset))
        if not block:
            raise ValueError("the file has become shorter while it was sent")
        yield block
        offset += len(block)
        await told(offset)


async def lines(answer: httpx.Response) -> AsyncIterator[str]:
    """The lines of an answer as they come."""
    async for line in answer.aiter_lines():
        yield line


async def read_all(answer: httpx.Response) -> None:
    """Read the rest of an answer."""
    await answer.aread()
