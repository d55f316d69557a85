"""What each annotator says of each item, and how a project's rule makes one label of it.

Two folds, each in a constant number of statements however many events there are: events into opinions, which no
rule enters, and opinions into the items' labels by the project's rule. So a rule can be changed at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from store.database import expect_rows
from store.rows import PROJECT, listed, listed_voices, rows, voices_of
from store.tables import Item, Json, Opinion, Project

# The plain tables: statements that name rows by themselves have no use for the mapper.
_ITEMS, _OPINIONS = (cast(sa.Table, mapped.__table__) for mapped in (Item, Opinion))
NOBODY = ""  # the annotator of events that name none


class NewEvent(NamedTuple):
    """What an annotator said of one item, before it has a sequence number."""

    item_position: int
    kind: str  # label | skip | withdraw
    class_index: int | None = None
    annotator: str | None = None
    event_id: str | None = None
    own: bool = False  # a skip that holds for its annotator only
    key_id: int | None = None  # the API key that sent it

    @property
    def voice(self) -> tuple[int, str]:
        """Whose opinion of what it is: (item position, annotator)."""
        return self.item_position, NOBODY if self.annotator is None else self.annotator


@dataclass(frozen=True)
class Rule:
    """How several annotators' opinions of an item make its label."""

    name: Literal["latest", "majority", "overlap"]
    votes_needed: int = 1  # classes that must be given before the item counts as labeled

    @classmethod
    def of(cls, labeling: Json) -> "Rule":
        """The rule as a project stores it."""
        return cls(labeling["rule"], labeling.get("overlap") or 1)


@dataclass
class _Said:
    """An annotator's opinion at the end of a batch."""

    event: NewEvent
    seq: int
    since: int
    afresh: bool  # whatever it was before the batch, it has been something else in between


@dataclass
class Batch:
    """What a run of events amounts to, item by item. Built from the events alone, and who skipped for themselves."""

    touched: dict[int, int] = field(default_factory=dict)  # item -> its last event
    withdrawn: dict[int, int] = field(default_factory=dict)  # item -> its last withdrawal of more than an own skip
    cleared: set[int] = field(default_factory=set)  # items of which everything was taken back
    said: dict[int, dict[str, _Said | None]] = field(default_factory=dict)  # None: taken back

    def add(self, event: NewEvent, seq: int, own_skips: set[tuple[int, str]]) -> None:
        """Take in the next event; `own_skips` are the annotators' own skips as they stood before the batch."""
        position, annotator = event.voice
        self.touched[position] = seq
        voices = self.said.setdefault(position, {})
        known = annotator in voices or position in self.cleared
        before = voices.get(annotator)
        if event.kind != "withdraw":
            if before is not None and _statement(before.event) == _statement(event):
                voices[annotator] = _Said(event, seq, before.since, before.afresh)
            else:
                voices[annotator] = _Said(event, seq, seq, known)
            return
        if event.annotator is None:
            voices.clear()
            self.cleared.add(position)
            self.withdrawn[position] = seq
            return
        voices[annotator] = None
        ends_own_skip = before.event.own if before is not None else not known and event.voice in own_skips
        if not ends_own_skip:
            self.withdrawn[position] = seq

    def kept(self) -> list[_Said]:
        """Opinions that stand at the end."""
        return [said for voices in self.said.values() for said in voices.values() if said is not None]

    def gone(self) -> list[tuple[int, str | None]]:
        """(item, annotator) whose opinion before the batch is over; None means everybody's."""
        broken = [
            (position, annotator)
            for position, voices in self.said.items()
            if position not in self.cleared
            for annotator, said in voices.items()
            if said is None or said.afresh
        ]
        return [*((position, None) for position in self.cleared), *broken]


def _statement(event: NewEvent) -> tuple[str, int | None, bool]:
    return event.kind, event.class_index, event.own


def record(session: Session, project_id: int, events: Sequence[NewEvent], first: int) -> Batch:
    """Fold events, numbered from `first` on, into opinions. The caller holds the project's row lock."""
    own_skips = _own_skips(session, project_id, [e.voice for e in events if e.kind == "withdraw" and e.annotator])
    batch = Batch()
    for seq, event in enumerate(events, start=first):
        batch.add(event, seq, own_skips)
    _remove(session, project_id, batch.gone())
    _store(session, project_id, batch.kept())
    return batch


def _own_skips(session: Session, project_id: int, voices: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    if not voices:
        return set()
    parameters = {"project": project_id, **listed_voices("asked", voices)}
    return {(row[0], row[1]) for row in session.execute(_find_own_skips(), parameters)}


@cache
def _find_own_skips() -> sa.Select[int, str]:
    asked = voices_of("asked")
    return sa.select(Opinion.item_position, Opinion.annotator).where(
        Opinion.project_id == PROJECT,
        Opinion.own,
        Opinion.item_position == asked.c.position,
        Opinion.annotator == asked.c.annotator,
    )


def _remove(session: Session, project_id: int, voices: Sequence[tuple[int, str | None]]) -> None:
    if not voices:
        return
    session.execute(_delete_opinions(), {"project": project_id, **listed_voices("gone", voices)})


@cache
def _delete_opinions() -> sa.Delete:
    gone = voices_of("gone")
    return sa.delete(_OPINIONS).where(
        Opinion.project_id == PROJECT,
        Opinion.item_position == gone.c.position,
        sa.or_(gone.c.annotator.is_(None), Opinion.annotator == gone.c.annotator),
    )


def _store(session: Session, project_id: int, kept: Sequence[_Said]) -> None:
    if not kept:
        return
    said = listed(
        "said",
        item_position=(said.event.item_position for said in kept),
        annotator=(said.event.voice[1] for said in kept),
        class_index=(said.event.class_index for said in kept),
        skipped=(said.event.kind == "skip" for said in kept),
        own=(said.event.own for said in kept),
        seq=(said.seq for said in kept),
        since=(said.since for said in kept),
    )
    session.execute(_upsert_opinions(), {"project": project_id, **said})


@cache
def _upsert_opinions() -> sa.Insert:
    values = rows(
        "said",
        item_position=sa.Integer,
        annotator=sa.Text,
        class_index=sa.Integer,
        skipped=sa.Boolean,
        own=sa.Boolean,
        seq=sa.BigInteger,
        since=sa.BigInteger,
    )
    names = [column.name for column in values.c]
    new = insert(_OPINIONS).from_select(["project_id", *names], sa.select(PROJECT, *values.c))
    same = sa.and_(Opinion.class_index.is_not_distinct_from(new.excluded.class_index), Opinion.own == new.excluded.own)
    return new.on_conflict_do_update(
        index_elements=["project_id", "item_position", "annotator"],
        set_={name: new.excluded[name] for name in ("class_index", "skipped", "own", "seq")}
        | {"since": sa.case((same, Opinion.since), else_=new.excluded.since)},
    )


def fold(session: Session, project_id: int, rule: Rule, batch: Batch) -> None:
    """Write how the touched items stand under the rule, with their last event and withdrawal."""
    touched = listed(
        "touched",
        position=batch.touched,
        seq=batch.touched.values(),
        withdrawn=(batch.withdrawn.get(position) for position in batch.touched),
    )
    session.execute(_fold_touched(rule), {"project": project_id, **touched})


@cache
def _fold_touched(rule: Rule) -> sa.Update:
    touched = rows("touched", position=sa.Integer, seq=sa.BigInteger, withdrawn=sa.BigInteger)
    standing = (
        sa.select(
            Item.position,
            touched.c.seq,
            sa.func.coalesce(touched.c.withdrawn, Item.withdrawn_seq).label("withdrawn"),
        )
        .join(touched, touched.c.position == Item.position)
        .where(Item.project_id == PROJECT)
        .cte("standing")
    )
    return _written(rule, standing)


def refold(session: Session, project_id: int, rule: Rule) -> int:
    """Write how every item stands under another rule; returns how many stand differently."""
    expect_rows(session, session.get_one(Project, project_id).item_count)
    standing = (
        sa.select(Item.position, Item.label_seq.label("seq"), Item.withdrawn_seq.label("withdrawn"))
        .where(Item.project_id == PROJECT, Item.label_seq.is_not(None))
        .cte("standing")
    )
    done: Any = session.execute(_written(rule, standing, changed_only=True), {"project": project_id})
    return int(done.rowcount)


def _written(rule: Rule, standing: sa.CTE, *, changed_only: bool = False) -> sa.Update:
    chosen = _chosen(rule, standing)
    folded = (
        sa.select(
            standing,
            chosen.c.class_index.label("label"),
            sa.and_(chosen.c.position.is_not(None), chosen.c.class_index.is_(None)).label("skipped"),
        )
        .select_from(standing.outerjoin(chosen, chosen.c.position == standing.c.position))
        .subquery("folded")
    )
    written = (
        sa.update(_ITEMS)
        .where(Item.project_id == PROJECT, Item.position == folded.c.position)
        .values(
            label=folded.c.label,
            skipped=folded.c.skipped,
            label_seq=folded.c.seq,
            withdrawn_seq=folded.c.withdrawn,
        )
    )
    if changed_only:
        written = written.where(sa.or_(Item.label.is_distinct_from(folded.c.label), Item.skipped != folded.c.skipped))
    return written


def _chosen(rule: Rule, standing: sa.CTE) -> sa.Subquery:
    """One row (position, class_index) per item that has a label or, with no class, is skipped."""
    votes = (
        sa.select(
            Opinion.item_position.label("position"),
            Opinion.class_index,
            sa.func.count().label("votes"),
            sa.func.max(Opinion.seq).label("latest"),
            sa.func.max(Opinion.since).label("reached"),
            sa.func.sum(sa.func.count(Opinion.class_index)).over(partition_by=Opinion.item_position).label("given"),
        )
        .join(standing, standing.c.position == Opinion.item_position)
        .where(Opinion.project_id == PROJECT, sa.not_(Opinion.own))
        .group_by(Opinion.item_position, Opinion.class_index)
    )
    if rule.name == "latest":
        # A withdrawal ends what everybody said before it, whoever sent it.
        counted = votes.where(Opinion.seq > sa.func.coalesce(standing.c.withdrawn, 0)).subquery("votes")
        order: list[Any] = [counted.c.latest.desc()]
    else:
        counted = votes.subquery("votes")
        # A skip for all comes before any class; on a tie, the class that had its votes first.
        order = [counted.c.class_index.is_(None).desc(), counted.c.votes.desc(), counted.c.reached]
    enough = sa.or_(counted.c.class_index.is_(None), counted.c.given >= rule.votes_needed)
    return (
        sa.select(counted.c.position, counted.c.class_index)
        .ext(distinct_on(counted.c.position))
        .where(enough)
        .order_by(counted.c.position, *order)
        .subquery("chosen")
    )


def closed_to(session: Session, project_id: int, rule: Rule, annotator: str | None) -> set[int]:
    """Items that this annotator must not get: skipped by them for themselves or, where several are asked, answered."""
    theirs = sa.select(Opinion.item_position).where(
        Opinion.project_id == project_id, Opinion.annotator == (NOBODY if annotator is None else annotator)
    )
    if rule.name != "overlap":
        return set(session.scalars(theirs.where(Opinion.own)))
    unlabeled = sa.and_(Item.project_id == project_id, Item.position == Opinion.item_position, Item.label.is_(None))
    return set(session.scalars(theirs.join(Item, unlabeled)))


def of_item(session: Session, project_id: int, position: int) -> list[Opinion]:
    """What everybody says of one item, in the order they said it."""
    return list(
        session.scalars(
            sa.select(Opinion)
            .where(Opinion.project_id == project_id, Opinion.item_position == position)
            .order_by(Opinion.seq)
        )
    )
