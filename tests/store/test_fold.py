"""Whatever annotators say in whatever order, the items stand as a slow reading of the log says, under every rule."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from store import labels, opinions
from store.database import Sessions
from store.opinions import NewEvent, Rule
from store.tables import Item, LabelEvent, Opinion, Project
from tests import oracles

ITEMS = 2  # few, so that events meet
RULES = [{"rule": "latest"}, {"rule": "majority"}, {"rule": "overlap", "overlap": 2}, {"rule": "overlap", "overlap": 3}]
WHO = ("ann", "bob", "eve")


@st.composite
def events(draw: st.DrawFn) -> NewEvent:
    kind = draw(st.sampled_from(["label", "label", "label", "skip", "withdraw"]))
    who = draw(st.sampled_from([None, *WHO]))
    own = kind == "skip" and who is not None and draw(st.booleans())
    label = draw(st.integers(0, 2)) if kind == "label" else None
    return NewEvent(draw(st.integers(0, ITEMS - 1)), kind, label, who, own=own)


def project(session: Session, rule: dict[str, Any]) -> int:
    made = Project(
        name=uuid.uuid4().hex, classes=["a", "b", "c"], kernel={}, defaults={}, labeling=rule, item_count=ITEMS
    )
    session.add(made)
    session.flush()
    session.add_all(Item(project_id=made.id, position=k, external_id=str(k)) for k in range(ITEMS))
    session.flush()
    return made.id


def logged(session: Session, project_id: int) -> list[oracles.Event]:
    e = LabelEvent
    rows = session.execute(
        sa.select(e.seq, e.item_position, e.kind, e.class_index, e.annotator, e.own)
        .where(e.project_id == project_id)
        .order_by(e.seq)
    ).all()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    return [(row[1], row[2], row[3], row[4], row[5]) for row in rows]


def check(session: Session, project_id: int, rule: dict[str, Any]) -> None:
    log = logged(session, project_id)
    items = session.execute(
        sa.select(Item.label, Item.skipped, Item.label_seq, Item.withdrawn_seq)
        .where(Item.project_id == project_id)
        .order_by(Item.position)
    ).all()
    o = Opinion
    held = session.execute(
        sa.select(o.item_position, o.annotator, o.seq, o.since, o.class_index, o.own).where(o.project_id == project_id)
    ).all()
    for position, (label, skipped, label_seq, withdrawn_seq) in enumerate(items):
        expected, withdrawn = oracles.opinions(log, position)
        assert {row[1]: tuple(row[2:]) for row in held if row[0] == position} == expected
        assert (withdrawn_seq or 0) == withdrawn
        assert (label, skipped) == oracles.standing(log, position, rule["rule"], rule.get("overlap", 1))
        assert (label_seq or 0) == max((seq for seq, e in enumerate(log, start=1) if e[0] == position), default=0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    rule=st.sampled_from(RULES),
    batches=st.lists(st.lists(events(), min_size=1, max_size=8), min_size=1, max_size=5),
    after=st.lists(st.sampled_from(RULES), max_size=2),
)
def test_items_are_the_fold_of_the_log(
    rule: dict[str, Any], batches: list[list[NewEvent]], after: list[dict[str, Any]], sessions: Sessions
) -> None:
    with sessions() as session:
        project_id = project(session, rule)
        for batch in batches:
            labels.append(session, project_id, batch)
            check(session, project_id, rule)
        for other in after:
            opinions.refold(session, project_id, Rule.of(other))
            check(session, project_id, other)
        session.rollback()


@pytest.mark.parametrize(
    ("said", "label"),
    [
        (["ann:a"], "a"),
        (["ann:a", "bob:b"], "a"),  # a tie leaves the class that had its votes first
        (["ann:a", "bob:b", "ann:a"], "a"),  # saying the same again gains nothing and loses nothing
        (["ann:a", "bob:b", "eve:b"], "b"),
        (["ann:a", "bob:b", "eve:b", "eve:a"], "a"),
        (["ann:a", "bob:b", "eve:b", "dan:a"], "b"),
        (["ann:a", "bob:b", "eve:b", "dan:a", "bob:b"], "b"),
        ([":a", ":b", "ann:a"], "b"),  # without a name it is one annotator, whoever it was
    ],
)
def test_majority_by_hand(said: list[str], label: str, sessions: Sessions) -> None:
    with sessions.begin() as session:
        project_id = project(session, {"rule": "majority"})
        for text in said:
            who, _, name = text.partition(":")
            labels.append(session, project_id, [NewEvent(0, "label", "abc".index(name), who or None)])
        assert session.scalar(sa.select(Item.label).where(Item.project_id == project_id, Item.position == 0)) == (
            "abc".index(label)
        )


def test_a_change_of_mind_within_one_batch_is_one(sessions: Sessions) -> None:
    """Back to the first class by way of another, or of nothing: the vote counts from its return."""
    for between in (NewEvent(0, "label", 1, "ann"), NewEvent(0, "withdraw", None, "ann"), NewEvent(0, "withdraw")):
        with sessions() as session:
            project_id = project(session, {"rule": "majority"})
            again = NewEvent(0, "label", 0, "ann")
            labels.append(session, project_id, [again])
            labels.append(session, project_id, [between, again])
            check(session, project_id, {"rule": "majority"})
            assert session.scalar(sa.select(Opinion.since).where(Opinion.project_id == project_id)) == 3
            session.rollback()


def test_the_number_of_statements_does_not_grow(sessions: Sessions) -> None:
    def statements(count: int) -> int:
        seen: list[str] = []
        engine = sessions.kw["bind"]

        def note(*arguments: Any) -> None:
            seen.append(arguments[2])
            assert not arguments[5], "one execution each"

        with sessions() as session:
            project_id = project(session, {"rule": "majority"})
            session.connection()
            kinds: list[tuple[str, int | None]] = [("label", 0), ("withdraw", None), ("skip", None), ("label", 1)]
            batch = [NewEvent(k % ITEMS, *kinds[k % 4], WHO[k % 2]) for k in range(count)]
            sa.event.listen(engine, "before_cursor_execute", note)
            try:
                labels.append(session, project_id, batch)
            finally:
                sa.event.remove(engine, "before_cursor_execute", note)
            session.rollback()
        return len(seen)

    planned_for_many = 1
    assert statements(4000) == statements(600) == statements(8) + planned_for_many <= 8
