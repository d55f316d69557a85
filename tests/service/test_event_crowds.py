"""Many streams at once, and many things to tell."""

import sqlalchemy as sa

from service.event_streams import BEHIND_MAX
from store.database import Sessions
from store.tables import Project
from tests.api import Api
from tests.service.streams import Reader, Serving
from tests.service.test_events import hand, served, until, watched

__all__ = ["hand", "served"]


def test_many_who_come_at_once_are_held_to_the_limit(served: Serving, hand: Api) -> None:
    hand.project()
    held = [served.connect("/events") for _ in range(60)]
    refused = sum(b" 429 " in connection.recv(1000).splitlines()[0] for connection in held)
    assert (refused, watched(served).count()) == (20, 40)
    for connection in held:
        connection.close()


def test_more_projects_than_a_reader_may_be_behind(served: Serving, hand: Api, sessions: Sessions) -> None:
    hand.project()
    with sessions.begin() as session:
        project = session.scalars(sa.select(Project)).one()
        same = {column.key: getattr(project, column.key) for column in sa.inspect(Project).columns}
        count = BEHIND_MAX + 50
        session.execute(
            sa.insert(Project), [same | {"id": 1000 + k, "name": f"p{k}", "label_seq": 0} for k in range(count)]
        )
    reader = Reader(served.url, "/events")
    reader.wait(lambda name, _: name == "workers")
    assert len({data["project"] for name, data, _ in reader.events if name == "project"}) == count + 1
    # All of them change between two looks.
    with sessions.begin() as session:
        session.execute(sa.update(Project).values(label_seq=7))
    until(lambda: sum(data.get("label_seq") == 7 for _, data, _ in list(reader.events)) == count + 1 or reader.broken)
    assert reader.broken is None
