"""Group commit: what concurrent requests want written goes into one transaction, and each gets its own answer.

While one transaction runs, the entries that arrive wait for the next: alone, an entry waits for nobody; under load
the cost of a transaction is shared by all that wait.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

In = TypeVar("In")
Out = TypeVar("Out")

ENTRIES_MAX = 256


class GroupCommit(Generic[In, Out]):
    """Gathers entries of one event loop and hands them on in the order in which they came."""

    def __init__(
        self,
        write: Callable[[Sequence[In]], Sequence[Out | Exception]],
        on_batch: Callable[[int], None] = lambda entries: None,
    ) -> None:
        """`write` runs in a thread and returns one outcome per entry, after they are durable.

        `on_batch` is told how many entries each transaction takes.
        """
        self._write = write
        self._on_batch = on_batch
        self._waiting: list[tuple[In, asyncio.Future[Out]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def submit(self, entry: In) -> Out:
        """The entry's outcome, once it is durable. Raises what `write` returned or raised."""
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._writing is None:
            # Kept in a field: the loop itself holds tasks weakly.
            # In a context of its own: what it logs belongs to no single request.
            self._writing = asyncio.create_task(self._drain(), context=Context())
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:ENTRIES_MAX]
                del self._waiting[:ENTRIES_MAX]
                self._on_batch(len(batch))
                _tell(batch, await self._outcomes([entry for entry, _ in batch]))
        finally:
            self._writing = None

    async def _outcomes(self, entries: Sequence[In]) -> Sequence[Out | Exception]:
        try:
            return await run_in_threadpool(self._write, entries)
        except Exception as error:
            return [error] * len(entries)


def _tell(batch: Sequence[tuple[In, asyncio.Future[Out]]], outcomes: Sequence[Out | Exception]) -> None:
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        if future.done():  # the request was given up; what it asked for is done all the same
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
