"""Tasks end when they are told to, also those that do not hear it at once."""

import asyncio
import contextlib

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service import tasks


def test_a_task_that_loses_cancellations_ends() -> None:
    heard = 0

    async def deaf() -> None:
        nonlocal heard
        while heard < 2:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            heard += 1
        await asyncio.sleep(60)

    async def main() -> bool:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await tasks.end(task)
        return task.cancelled()

    assert asyncio.run(main())
    assert heard == 2


def test_one_that_has_ended_is_left_alone() -> None:
    async def main() -> int:
        task = asyncio.create_task(asyncio.sleep(0, 7))
        await task
        await tasks.end(task)
        return task.result()

    assert asyncio.run(main()) == 7


@pytest.mark.timeout(60)
def test_a_service_that_is_stopped_as_soon_as_it_has_started_stops(app: FastAPI) -> None:
    for _ in range(25):
        with TestClient(app):
            pass
