"""Tasks of the event loop that end when they are told to."""

import asyncio
from typing import Any

_AGAIN_SECONDS = 0.1


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended, however it ends.

    A cancellation may be lost: `asyncio.wait_for` in Python 3.11 drops one that comes in the same turn as its result,
    and clients of the queue use it while they connect. So it is asked for again until it is heard.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SECONDS)
