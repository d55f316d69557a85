"""The crash harness: a few kills for real, and that its checks see what they are there to see."""

import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api_schemas.labels import LabelEvent
from api_schemas.projects import Item
from benchmarks.soak import lease_checks, log_checks, schedule
from benchmarks.soak.lease_checks import Lease
from benchmarks.soak.readiness import Probe
from benchmarks.soak.record import Event, quantiles
from benchmarks.soak.run import Outcome

ROOT = Path(__file__).parent.parent.parent
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Its first kills are one each of the service and PostgreSQL; other tests kill workers and Valkey.
SEED = 2826


def test_nothing_is_lost_when_parts_are_killed(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    options = ["--kills", "2", "--seed", str(SEED), "--out", str(out)]
    # How soon all serves again is measured by `make soak`: here other tests may have the processors.
    options += ["--ready-seconds", "60"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert len(found["strikes"]) == 2
    assert {strike["name"].removesuffix("-1") for strike in found["strikes"]} == {"service", "postgres"}
    assert found["requests"]["acknowledged"] > 20
    assert found["figures"]["log"] >= found["requests"]["acknowledged"]
    assert found["figures"]["model"]["labeled"] > 10
    assert len(found["checks"]) == 10


def test_a_schedule_follows_its_seed_and_strikes_everything() -> None:
    plan = schedule.planned(200, 7)
    assert plan == schedule.planned(200, 7) != schedule.planned(200, 8)
    assert len(plan) == 200
    assert {part for strike in plan for part in strike.parts} == set(schedule.ROUND)
    assert any(len(strike.parts) == 2 for strike in plan)
    for strike in plan:
        assert len({part.split()[0] for part in strike.parts}) == len(strike.parts), strike


def sent() -> list[Event]:
    return [
        Event("one", "one-1", "a", "label", "red", "ann", seq=1),
        Event("two", "two-1", "b", "skip", None, "bob", seq=2),
        Event("one", "one-2", "a", "withdraw", None, "ann", seq=3),
        Event("two", "two-2", "c", "label", "blue", "bob", seq=None),
    ]


def logged(events: list[Event]) -> list[LabelEvent]:
    return [
        LabelEvent.model_validate(
            {
                "seq": seq,
                "item": event.item,
                "kind": event.kind,
                "label": event.label,
                "annotator": event.annotator,
                "event_id": event.event_id,
                "created_at": NOW,
            }
        )
        for seq, event in enumerate(events, start=1)
    ]


def test_a_log_that_kept_everything_is_right_whether_the_last_event_arrived_or_not() -> None:
    events = sent()
    assert log_checks.check_log(events, logged(events)) == []
    assert log_checks.check_log(events, logged(events[:3])) == []
    assert log_checks.check_order(events) == []


@pytest.mark.parametrize(
    ("in_the_log", "says"),
    [
        ([0, 1], "one-2 on a was acknowledged as seq 3: []"),
        ([0, 2, 1], "two-1 on b was acknowledged as seq 2: [3]"),
        ([0, 1, 2, 0], "one-1 is in the log 2 times: seqs [1, 4]"),
        ([0, 1, 2, 3, 3], "two-2 is in the log 2 times: seqs [4, 5]"),
    ],
)
def test_a_log_that_lost_or_repeated_something_is_found(in_the_log: list[int], says: str) -> None:
    events = sent()
    assert any(says in line for line in log_checks.check_log(events, logged([events[k] for k in in_the_log])))


def test_gaps_strangers_and_other_words_are_found() -> None:
    events = sent()
    gap = [entry.model_copy(update={"seq": entry.seq + 1}) for entry in logged(events)]
    assert "entry 1 of the log has seq 2" in log_checks.check_log(events, gap)
    assert "one-1 is in the log and was never sent" in log_checks.check_log(events[1:], logged(events))
    other = logged(events)
    other[0] = other[0].model_copy(update={"label": "green"})
    (wrong,) = log_checks.check_log(events, other)
    assert wrong.startswith("one-1 said ('a', 'label', 'red', 'ann')")
    events[2].seq = 1
    assert len(log_checks.check_order(events)) == 1


def test_items_that_stand_otherwise_than_the_log_says_are_found() -> None:
    standing = log_checks.fold(logged(sent()))
    assert standing == {"a": ("withdraw", None, 3), "b": ("skip", None, 2), "c": ("label", "blue", 4)}

    def item(name: str, state: str, label: str | None, seq: int | None) -> Item:
        given = {"item": name, "position": 0, "state": state, "leased": False, "label": label, "label_seq": seq}
        return Item.model_validate(given | {"attributes": {}})

    right = [item("a", "unlabeled", None, 3), item("b", "skipped", None, 2), item("c", "labeled", "blue", 4)]
    assert log_checks.check_items([*right, item("d", "unlabeled", None, None)], standing) == []
    wrong = [item("a", "labeled", "red", 3), item("b", "skipped", None, 1), item("c", "labeled", "red", 4)]
    assert len(log_checks.check_items([*wrong, item("d", "labeled", "red", 9)], standing)) == 4


def test_overlapping_leases_are_found() -> None:
    def lease(number: int, annotator: str, start: float, stop: float, *, by_event: bool = False) -> Lease:
        return Lease(number, "a", annotator, NOW + timedelta(seconds=start), NOW + timedelta(seconds=stop), by_event)

    first = lease(1, "ann", 0, 10)
    assert lease_checks.check_leases([first, lease(2, "bob", 10, 20)]) == []
    assert lease_checks.check_leases([first, lease(2, "ann", 5, 20)]) == []
    assert len(lease_checks.check_leases([first, lease(2, "bob", 9.9, 20)])) == 1
    ended = dataclasses.replace(first, ended_by_event=True)
    assert lease_checks.check_leases([ended, lease(2, "bob", 9.9, 20)]) == []
    assert len(lease_checks.check_leases([ended, lease(2, "bob", 5, 20)])) == 1


def test_a_probe_counts_from_the_first_answer_of_a_run_that_does_not_break_off() -> None:
    probe = Probe()
    probe.note(1.0, None)
    first = probe.good_since
    probe.note(0.5, "202")  # asked before: it only ends later
    assert probe.good_since == first is not None
    probe.note(2.0, "503")
    assert probe.good_since is None
    probe.note(3.0, None)
    assert probe.sent_last_good == 3.0
    assert probe.failures == {"202": 1, "503": 1}


def test_a_run_without_checks_has_not_passed() -> None:
    assert not Outcome().passed
    assert Outcome(checks={"all": []}).passed
    assert not Outcome(checks={"all": [], "one": ["wrong"]}).passed
    assert quantiles([3.0, 1.0, 2.0]) == {"count": 3, "median": 2.0, "p99": 3.0, "max": 3.0}
