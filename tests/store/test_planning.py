"""What many rows take does not depend on what the tables held when the planner last looked at them."""

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from store import held_out, labels, opinions, pools
from store.database import Sessions
from store.opinions import NewEvent, Rule
from store.tables import Base, Project

ITEMS = 10_000
HELD_OUT = 1000
# Of a few tenths of a second. A plan that reads all items for each of them takes a quarter of a minute.
PATIENCE = "8s"


def project(session: Session, name: str, items: int) -> int:
    made = Project(name=name, classes=["a", "b", "c"], kernel={}, defaults={}, item_count=items)
    session.add(made)
    session.flush()
    part = items // 10
    pools.insert_items(session, made.id, 0, [str(k) for k in range(items - part)], held_out=False)
    pools.insert_items(session, made.id, items - part, [str(k) for k in range(items - part, items)], held_out=True)
    return made.id


def said(items: int) -> list[NewEvent]:
    return [NewEvent(k, "label", k % 3, "ann", event_id=f"e{k}") for k in range(items - items // 10)]


@pytest.fixture(params=["of few items", "of another project"])
def looked_at(request: pytest.FixtureRequest, sessions: Sessions) -> Sessions:
    """A database whose tables were last looked at when they were what the name says."""
    items = {"of few items": 40, "of another project": 4000}[request.param]
    with sessions.begin() as session:
        labels.append(session, project(session, "before", items), said(items))
    bind: sa.Engine = sessions.kw["bind"]
    with bind.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE items, opinions, label_events, suggestions"))
    return sessions


def test_many_labels_of_a_new_project(looked_at: Sessions) -> None:
    with looked_at.begin() as session:
        session.execute(sa.text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
        new = project(session, "new", ITEMS)
    for k in range(12):  # by now the connection keeps plans, made for single labels
        with looked_at.begin() as session:
            labels.append(session, new, [NewEvent(k, "label", k % 3)])
    with looked_at.begin() as session:
        session.execute(sa.text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
        events = said(ITEMS)
        labels.append(session, new, events)
        held_out.put(session, new, {k: k % 3 for k in range(ITEMS - HELD_OUT, ITEMS)})
        taken_back = [NewEvent(event.item_position, "withdraw", annotator="ann") for event in events[12:]]
        labels.append(session, new, taken_back)
        assert labels.counted(session, new) == (12, 3)
        labels.append(session, new, [event._replace(event_id=None) for event in events])
        assert opinions.refold(session, new, Rule("overlap", 2)) == ITEMS - HELD_OUT - 12
        assert held_out.count(session, new) == HELD_OUT
        assert labels.recorded(session, new, ["e7"])["e7"].item_position == 7


def test_statistics_say_nothing_of_owners(sessions: Sessions) -> None:
    """Otherwise a project that came since is expected to have nothing, and any index to be good enough to find it."""
    owners = {"projects.id", "kernel_states.id", "label_studio_connections.id"}
    columns = {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if owners.intersection(key.target_fullname for key in column.foreign_keys)
        and [column] != list(table.primary_key.columns)
        and table.name != "projects"
    }
    query = "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attstattarget = 0 AND attnum > 0"
    with sessions.begin() as session:
        assert {(row[0], row[1]) for row in session.execute(sa.text(query))} == columns
