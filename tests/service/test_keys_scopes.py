"""Scopes and tenants: what each key reaches, route by route."""

import re
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.scopes import RULES, UNDECLARED, Table
from store.tables import Job, LabelEvent, Project
from tests.api import Api, Json, assert_problem
from tests.service.keyed import Keyed

_FILLED = {"name": "theirs", "prefix": "00000000", "item": "item-1", "job_id": "job-1"}


def filled(template: str, **more: str) -> str:
    """A path of this template, converters and all."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda found: (_FILLED | more).get(found[1], "x"), template)


def routes(app: FastAPI) -> set[tuple[str, str]]:
    """(method, template) of everything that answers."""
    found = {
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        for method in route.methods or {"ANY"}
        if route.path is not None
    }
    # Where there is a GET, a HEAD is its shadow.
    return {(method, path) for method, path in found if method != "HEAD" or ("GET", path) not in found}


def tenants(keyed: Keyed) -> tuple[Api, Api]:
    """Admins of the projects `mine` and `theirs`, each with a pool."""
    both = []
    for name in ("mine", "theirs"):
        api = keyed.new("admin", projects=[name])
        api.project(name)
        api.pool(name=name)
        both.append(api)
    return both[0], both[1]


def send(api: Api, method: str, path: str, **more: Any) -> Any:
    return api.client.request(method, path, **more)


def test_every_route_has_a_declared_scope(app: FastAPI) -> None:
    assert not {route for route in routes(app) if route not in RULES}
    assert {"/label", "/projects/{name}/pool", "/keys", "/metrics"} <= {path for _, path in routes(app)}


def test_only_these_are_open() -> None:
    opened = {path for (method, path), rule in RULES.items() if rule.open and method != "OPTIONS"}
    # The address of a Label Studio backend holds its own credential.
    opened = {path for path in opened if not path.startswith("/label-studio/{token}/")}
    assert opened == {"/", "/docs", "/annotate", "/assets/{part}", "/openapi.json", "/livez", "/readyz"}
    assert all(rule.open or rule.scopes for rule in RULES.values())


def test_every_route_that_is_not_open_asks_for_a_key(keyed: Keyed) -> None:
    for (method, template), rule in RULES.items():
        if (method, template) in routes(keyed.app):
            path = filled(template)
            answer = keyed.client.request(method, path, follow_redirects=False)
            assert (answer.status_code == 401) is (not rule.open or "{token}" in template), (
                method,
                template,
                answer.status_code,
            )


def test_every_route_refuses_keys_without_its_scope(keyed: Keyed) -> None:
    holders = {scope: keyed.new(scope) for scope in ("read", "label", "suggest")}
    refused = 0
    for (method, template), rule in RULES.items():
        path = filled(template)
        for scope, api in holders.items():
            if rule.open or scope in rule.scopes or (method, template) not in routes(keyed.app):
                continue
            answer = send(api, method, path)
            assert answer.status_code == 403
            if method != "HEAD":
                assert_problem(answer, 403, "scope_missing", rule.words())
            refused += 1
    assert refused > 30


def test_a_route_that_nobody_declared_is_for_admins_of_everything(keyed: Keyed) -> None:
    keyed.app.add_api_route("/fresh", lambda: {"secret": 1}, methods=["GET"])
    assert Table().find("GET", "/fresh") is None
    assert_problem(keyed.client.get("/fresh"), 401, "key_missing")
    assert_problem(keyed.new("read", "label", "suggest").get("/fresh"), 403, "scope_missing", "admin")
    assert_problem(keyed.new("admin", projects=["p"]).get("/fresh"), 403, "project_out_of_scope")
    assert keyed.new("admin").get("/fresh").json() == {"secret": 1}
    assert UNDECLARED.everywhere


def test_what_is_no_route_needs_no_key(keyed: Keyed) -> None:
    assert_problem(keyed.client.get("/nowhere"), 404, "unknown_route")
    assert_problem(keyed.client.delete("/label"), 405, "method_not_allowed")
    assert keyed.client.get("/docs").status_code == 200
    schema = keyed.client.get("/openapi.json").json()
    assert schema["paths"]["/label"]["post"]["security"] == [{"key": []}]
    assert schema["paths"]["/label"]["post"]["x-scopes"] == ["label"]
    assert "security" not in schema["paths"]["/livez"]["get"]


def test_every_project_route_is_404_for_another_tenant(keyed: Keyed) -> None:
    mine, _ = tenants(keyed)
    walked = 0
    for method, template in sorted(routes(keyed.app)):
        if "{name}" not in template:
            continue
        answers = []
        for name in ("theirs", "nobodys"):
            path = filled(template, name=name)
            problem = assert_problem(send(mine, method, path), 404, "unknown_project")
            answers.append(problem["detail"].replace(name, "NAME"))
        assert answers[0] == answers[1] == "there is no project 'NAME'; GET /projects lists them"
        walked += 1
    assert walked >= 7


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/label", {"project": "theirs", "item": "item-1", "label": "a"}),
        ("POST", "/labels", {"project": "theirs", "labels": [{"item": "item-1", "label": "a"}]}),
        ("POST", "/suggest", {"project": "theirs", "strategy": "random"}),
        ("GET", "/labels?project=theirs", None),
        ("GET", "/jobs?project=theirs", None),
        ("GET", "/audit?project=theirs", None),
    ],
)
def test_projects_named_otherwise_are_404_too(keyed: Keyed, method: str, path: str, body: Json | None) -> None:
    mine, _ = tenants(keyed)
    theirs = assert_problem(send(mine, method, path, json=body), 404, "unknown_project")
    if body is not None:
        body = body | {"project": "nobodys"}
    nobodys = send(mine, method, path.replace("theirs", "nobodys"), json=body).json()
    assert theirs["detail"].replace("theirs", "nobodys") == nobodys["detail"]
    with keyed.sessions.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(LabelEvent)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Job)) == 0


def test_jobs_of_others_do_not_exist(keyed: Keyed) -> None:
    mine, theirs = tenants(keyed)
    job, own = theirs.mlp("theirs")["id"], mine.mlp("mine")["id"]
    for method, path in (("GET", "/jobs/{}"), ("GET", "/jobs/{}/events"), ("POST", "/jobs/{}/cancel")):
        found = assert_problem(send(mine, method, path.format(job)), 404, "unknown_job")
        none = assert_problem(send(mine, method, path.format("job-0")), 404, "unknown_job")
        assert found["detail"].replace(job, "job-0") == none["detail"]
    assert theirs.get(f"/jobs/{job}").json()["status"] == "queued"
    assert [found["id"] for found in mine.get("/jobs").json()["jobs"]] == [own]
    assert [p["name"] for p in mine.get("/projects").json()["projects"]] == ["mine"]
    everything = keyed.new("read")
    assert len(everything.get("/jobs").json()["jobs"]) == 2
    assert len(everything.get("/projects").json()["projects"]) == 2


def test_projects_are_made_within_a_keys_list_only(keyed: Keyed) -> None:
    mine, _ = tenants(keyed)
    for name in ("theirs", "nobodys"):  # whether it exists or not
        answer = mine.post("/projects", {"name": name, "classes": ["a", "b"]})
        assert_problem(answer, 403, "project_out_of_scope", "mine", name)
    assert_problem(mine.post("/projects", {"name": "mine", "classes": ["a", "b"]}), 409, "project_exists")
    assert keyed.new("admin").post("/projects", {"name": "nobodys", "classes": ["a", "b"]}).status_code == 201


def test_scopes_do_what_they_say(keyed: Keyed) -> None:
    admin = keyed.new("admin")
    admin.project()
    admin.pool()
    label, suggest, read = (keyed.new(scope, projects=["p"]) for scope in ("label", "suggest", "read"))
    assert label.label("item-1").status_code == 201
    assert_problem(read.label("item-1"), 403, "scope_missing", "label", "read")
    answer = suggest.suggest(strategy="random", headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    # Its asker can follow it without the scope read.
    assert suggest.get(answer.headers["location"]).json()["status"] == "queued"
    assert_problem(label.get(answer.headers["location"]), 403, "scope_missing", "read or suggest")
    assert read.get("/labels", project="p").json()["label_seq"] == 1
    assert all(api.get("/strategies").status_code == 200 for api in (label, suggest, read))
    assert_problem(read.get("/metrics"), 403, "project_out_of_scope")
    assert_problem(keyed.new("admin", projects=["p"]).get("/metrics"), 403, "project_out_of_scope")
    assert "lookahead_jobs_open" in keyed.new("read").get("/metrics").text


def test_labels_say_which_key_sent_them(keyed: Keyed) -> None:
    admin = keyed.new("admin")
    admin.project()
    admin.pool()
    key = keyed.key("label")
    keyed.holder(key).label("item-1")
    keyed.holder(key).post("/labels", {"project": "p", "labels": [{"item": "item-2", "label": "b"}]})
    with keyed.sessions.begin() as session:
        found = session.scalars(sa.select(LabelEvent.key_id).order_by(LabelEvent.seq)).all()
        assert session.scalar(sa.select(Project.label_seq)) == 2
    assert len(found) == 2
    assert len(set(found)) == 1
    assert found[0] is not None


def test_a_body_is_not_read_before_the_key_is_known(keyed: Keyed) -> None:
    read = 0

    def chunks() -> Any:
        nonlocal read
        for _ in range(3):
            read += 1
            yield b"x" * 100

    # Were the body looked at first, this would be 422 or 400.
    answer = keyed.client.post(
        "/projects/p/pool", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert_problem(answer, 401, "key_missing")


def test_requests_of_two_keys_are_never_taken_for_one(keyed: Keyed) -> None:
    first, second = keyed.new("admin"), keyed.new("admin")
    first.project()
    first.pool()
    body, once = {"project": "p", "item": "item-1", "label": "a"}, {"Idempotency-Key": "one"}
    seqs = [api.post("/label", body, headers=once).json()["seq"] for api in (first, first, second)]
    assert seqs == [1, 1, 2]


def test_an_upload_belongs_to_the_key_that_began_it(keyed: Keyed) -> None:
    mine, other = keyed.new("admin"), keyed.new("admin")
    tus = {"Tus-Resumable": "1.0.0"}
    began = mine.client.request("POST", "/uploads", headers=tus | {"Upload-Length": "4"})
    assert began.status_code == 201
    place = began.headers["location"]
    assert [send(api, "HEAD", place, headers=tus).status_code for api in (mine, other)] == [200, 404]
    piece = tus | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert_problem(send(other, "PATCH", place, headers=piece, content=b"data"), 404, "unknown_upload")
    assert send(mine, "PATCH", place, headers=piece, content=b"data").status_code == 204
