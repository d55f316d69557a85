"""Projects with something in every table, and what of them is there."""

import time
from typing import Any

import sqlalchemy as sa

from service.label_studio.backends import new_token
from store import deletion
from store.database import Sessions
from store.tables import (
    Bandit,
    Base,
    LabelStudioAnnotation,
    LabelStudioConnection,
    LabelStudioTask,
    Project,
    StateInsight,
)
from tests.api import Api
from tests.worker.conftest import run_queued
from worker import removal
from worker.context import Context
from worker.jobs import run_in

OF_NO_PROJECT = {"api_keys", "audit_entries", "idempotency_keys"}
Rows = dict[str, list[Any]]


def belonging(sessions: Sessions, project_id: int) -> Rows:
    """Every row of the project, by table; tables that belong to no project are left out."""
    found = {}
    with sessions.begin() as session:
        for table in Base.metadata.sorted_tables:
            rows = deletion._of(table, project_id)
            if table.name == "projects":
                rows = table.c.id == project_id
            if rows is not None:
                query = sa.select(table).where(rows).order_by(*table.primary_key)
                found[table.name] = [tuple(row) for row in session.execute(query)]
    assert Base.metadata.tables.keys() - found.keys() == OF_NO_PROJECT
    return found


def id_of(sessions: Sessions, name: str) -> int:
    with sessions.begin() as session:
        return session.scalars(sa.select(Project.id).where(Project.name == name)).one()


def suggested(api: Api, worker: Context, name: str) -> None:
    """A leased suggestion of a project that is prepared."""
    job = api.suggest(name, annotator="ann", headers={"Prefer": "wait=0"}).json()["id"]
    run_in(worker, job)


def filled(api: Api, worker: Context, sessions: Sessions, name: str) -> tuple[int, str]:
    """A project with at least a row in every table that belongs to projects: its id, and a connection's token."""
    api.project(name)
    api.pool(name=name)
    api.mlp(name)
    run_queued(worker)
    for k, label in enumerate("abc"):
        assert api.label(f"item-{k}", label, name).status_code == 201
    suggested(api, worker, name)
    project_id = id_of(sessions, name)
    token, prefix, digest = new_token()
    with sessions.begin() as session:
        state = session.get_one(Project, project_id).active_state_id
        session.merge(StateInsight(state_id=state, predicted=[1]))
        session.add(Bandit(project_id=project_id, version=1, memory={}))
        connection = LabelStudioConnection(
            **dict.fromkeys(("url", "api_token", "from_name", "to_name", "data_key"), "x"),
            prefix=prefix,
            digest=digest,
            project_id=project_id,
            label_studio_project=1,
            kind="text",
            choices=[],
            add_tasks=False,
            private_allowed=False,
            strategies={},
        )
        session.add(connection)
        session.flush()
        session.add(LabelStudioTask(connection_id=connection.id, task_id=1))
        session.add(LabelStudioAnnotation(connection_id=connection.id, annotation_id=1, said="none"))
    return project_id, token


def swept(worker: Context) -> None:
    """Sweep until nothing is pending any more."""
    deadline = time.monotonic() + 20
    while True:
        removal.sweep(worker)
        with worker.sessions.begin() as session:
            if not deletion.pending(session):
                return
        assert time.monotonic() < deadline
