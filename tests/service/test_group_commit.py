"""Entries that arrive together are written together, in order, each with an outcome of its own."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from service.group_commit import ENTRIES_MAX, GroupCommit


class Recorder:
    """Writes nothing until it is let go; odd entries fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def write(self, entries: Sequence[int]) -> list[int | Exception]:
        self.go.wait(30)
        self.batches.append(list(entries))
        return [ValueError(str(entry)) if entry % 2 else 10 * entry for entry in entries]


def test_what_waits_is_written_together_in_order() -> None:
    recorder = Recorder()

    async def run() -> list[int | BaseException]:
        commit = GroupCommit(recorder.write)
        tasks = [asyncio.create_task(commit.submit(entry)) for entry in range(ENTRIES_MAX + 10)]
        await asyncio.sleep(0)
        recorder.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(run())
    assert [entry for batch in recorder.batches for entry in batch] == list(range(ENTRIES_MAX + 10))
    assert len(recorder.batches) == 2
    for entry, outcome in enumerate(outcomes):
        if entry % 2:
            assert isinstance(outcome, ValueError)
            assert str(outcome) == str(entry)
        else:
            assert outcome == 10 * entry


def test_a_request_given_up_does_not_disturb_the_others() -> None:
    recorder = Recorder()

    async def run() -> int:
        commit = GroupCommit(recorder.write)
        given_up, kept = asyncio.create_task(commit.submit(2)), asyncio.create_task(commit.submit(4))
        await asyncio.sleep(0)
        given_up.cancel()
        recorder.go.set()
        return await kept

    assert asyncio.run(run()) == 40
    assert recorder.batches == [[2, 4]]


def test_a_write_that_fails_as_a_whole_fails_every_entry_and_the_next_goes_on() -> None:
    calls: list[int] = []

    def write(entries: Sequence[int]) -> list[int | Exception]:
        calls.append(len(entries))
        if len(calls) == 1:
            raise OSError("away")
        return list(entries)

    async def run() -> int:
        commit = GroupCommit(write)
        with pytest.raises(OSError, match="away"):
            await commit.submit(1)
        return await commit.submit(2)

    assert asyncio.run(run()) == 2
