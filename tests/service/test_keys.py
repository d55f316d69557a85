"""Keys over HTTP: made, shown once, replaced, ended; nobody makes more than they hold."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from service import auth, keys
from service.auth import CACHE_SECONDS
from service.settings import ServiceSettings
from store.database import Sessions
from store.tables import ApiKey
from tests.api import Api, assert_problem
from tests.service.conftest import contents
from tests.service.keyed import Keyed, keyed_service, prefix_of


def test_a_key_is_shown_once_and_kept_as_a_hash(keyed: Keyed) -> None:
    admin = keyed.new("admin")
    made = admin.post(
        "/keys",
        {
            "name": "tool",
            "scopes": ["label", "suggest"],
            "projects": ["p"],
            "requests_per_minute": 60,
            "expires_days": 9,
        },
    )
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    found = made.json()
    key = found.pop("key")
    assert key.startswith(f"lk_{found['prefix']}_")
    assert found["scopes"] == ["label", "suggest"]
    assert (found["projects"], found["requests_per_minute"], found["state"]) == (["p"], 60, "live")
    listed = admin.get("/keys")
    assert found in listed.json()["keys"]
    assert key not in listed.text
    assert key not in str(contents(keyed.sessions))
    with keyed.sessions.begin() as session:
        assert session.scalar(sa.select(ApiKey.digest).where(ApiKey.prefix == found["prefix"])) == auth.digest(key)
    holder = keyed.holder(key)
    assert_problem(holder.label("item-1"), 404, "unknown_project")
    assert_problem(holder.get("/keys"), 403, "scope_missing", "admin")


def test_keys_from_before_there_were_scopes_may_do_everything(keyed: Keyed) -> None:
    key, prefix, digest = auth.new_key()
    with keyed.sessions.begin() as session:
        session.execute(sa.insert(ApiKey).values(name="old", prefix=prefix, digest=digest))
    old = keyed.holder(key)
    old.project()
    assert old.get("/metrics").status_code == 200
    assert old.get("/keys").json()["keys"][0]["scopes"] == ["admin"]


def test_rotating_keeps_the_rights_and_the_old_key_for_its_grace(keyed: Keyed) -> None:
    admin, key = keyed.new("admin"), keyed.key("read", projects=["p"], per_minute=500)
    answer = admin.post(f"/keys/{prefix_of(key)}/rotate", {"grace_seconds": 1})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    new = answer.json()
    assert (new["scopes"], new["projects"], new["requests_per_minute"], new["expires_at"]) == (
        ["read"],
        ["p"],
        500,
        None,
    )
    assert keyed.holder(key).get("/projects").status_code == 200
    time.sleep(1.05)  # exactly then: the end is known, only revocations have to be heard of
    assert keyed.holder(new["key"]).get("/projects").status_code == 200
    ended = assert_problem(keyed.holder(key).get("/projects"), 401, "key_expired", prefix_of(key), new["prefix"])
    assert key not in str(ended)
    # Whoever has only the prefix learns nothing.
    assert_problem(keyed.holder(f"lk_{prefix_of(key)}_{'A' * 43}").get("/projects"), 401, "key_unknown")
    assert_problem(admin.post(f"/keys/{prefix_of(key)}/rotate"), 409, "key_ended", "expired")


def test_rotating_without_grace_ends_the_old_key_at_once(keyed: Keyed) -> None:
    key = keyed.key("admin")
    holder = keyed.holder(key)
    assert holder.get("/projects").status_code == 200  # remembered from here on
    new = holder.post(f"/keys/{prefix_of(key)}/rotate", {"grace_seconds": 0}).json()["key"]
    assert_problem(holder.get("/projects"), 401, "key_expired")
    again = keyed.holder(new).post(f"/keys/{prefix_of(new)}/rotate").json()
    assert_problem(keyed.holder(new).post(f"/keys/{prefix_of(new)}/rotate"), 409, "key_rotated", again["prefix"])


def test_revoking_ends_a_key_here_at_once(keyed: Keyed) -> None:
    admin, key = keyed.new("admin"), keyed.key("read")
    assert keyed.holder(key).get("/projects").status_code == 200
    gone = admin.client.delete(f"/keys/{prefix_of(key)}")
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert_problem(keyed.holder(key).get("/projects"), 401, "key_unknown")
    assert admin.client.delete(f"/keys/{prefix_of(key)}").json() == gone.json()
    assert_problem(admin.client.delete("/keys/00000000"), 404, "unknown_key")


def test_expired_keys_say_so_to_their_holder_only(keyed: Keyed) -> None:
    key = keyed.key("read", expires_at=datetime.now(UTC) - timedelta(days=1))
    assert_problem(keyed.holder(key).get("/projects"), 401, "key_expired", prefix_of(key))
    assert_problem(keyed.holder(key[:-1]).get("/projects"), 401, "key_unknown")


def test_nobody_makes_or_takes_a_key_with_more_rights(keyed: Keyed) -> None:
    soon = datetime.now(UTC) + timedelta(days=5)
    mine = keyed.new("admin", projects=["p", "q"], per_minute=100, expires_at=soon)
    body = {"name": "n", "scopes": ["admin"]}
    for more, word in (
        ({"projects": ["p", "r"]}, "p, q"),
        ({"requests_per_minute": 101}, "100"),
        ({"expires_days": 6}, "no later"),
    ):
        assert_problem(mine.post("/keys", body | more), 403, "beyond_own_rights", word)
    made = mine.post("/keys", body).json()
    assert (sorted(made["projects"]), made["requests_per_minute"]) == (["p", "q"], 100)
    assert datetime.fromisoformat(made["expires_at"]) == soon
    less = mine.post("/keys", body | {"projects": ["q"], "requests_per_minute": 5, "expires_days": 1}).json()
    assert (less["projects"], less["requests_per_minute"]) == (["q"], 5)

    wide, other = keyed.key("read", projects=["p"]), keyed.key("read", projects=["p", "r"])
    every = keyed.key("read")
    # It has no end and no limit: its successor would be handed to whoever rotates it.
    assert_problem(mine.post(f"/keys/{prefix_of(wide)}/rotate"), 403, "beyond_own_rights")
    assert_problem(mine.post(f"/keys/{less['prefix']}/rotate", {"expires_days": 6}), 403, "beyond_own_rights")
    for unseen in (other, every):
        assert_problem(mine.post(f"/keys/{prefix_of(unseen)}/rotate"), 404, "unknown_key")
        assert_problem(mine.client.delete(f"/keys/{prefix_of(unseen)}"), 404, "unknown_key")
    seen = {found["prefix"] for found in mine.get("/keys").json()["keys"]}
    assert {made["prefix"], less["prefix"], prefix_of(wide)} <= seen
    assert seen.isdisjoint({prefix_of(other), prefix_of(every)})
    # Ending a key gives nobody anything.
    assert mine.client.delete(f"/keys/{prefix_of(wide)}").status_code == 200


def test_keys_page_by_page(keyed: Keyed) -> None:
    admin = keyed.new("admin")
    for _ in range(4):
        keyed.key("read")
    first = admin.get("/keys", limit=3).json()
    second = admin.get("/keys", limit=3, after=first["next"]).json()
    assert (len(first["keys"]), len(second["keys"]), second["next"]) == (3, 2, None)


def test_a_key_in_the_address_is_refused(keyed: Keyed) -> None:
    key = keyed.key("admin")
    for answer in (
        keyed.client.get(f"/projects?api_key={key}"),
        keyed.holder(key).get("/projects", after=key),
    ):
        assert key not in str(assert_problem(answer, 401, "key_in_query", "Authorization"))
    # As a prefix, by mistake: the refusal does not repeat it, nor does the audit.
    refused = assert_problem(keyed.holder(key).client.delete(f"/keys/{key}"), 422, "invalid_request")
    assert key not in str(refused)
    assert key not in str(contents(keyed.sessions))


def test_odd_headers_are_refused(keyed: Keyed) -> None:
    key = keyed.key("admin")
    for wrong in ("Bearer", "Bearer  ", key, f"Token {key}", f"Bearer {key} {key}", "Bearer \xe9\xff"):
        answer = keyed.client.get("/projects", headers=[(b"Authorization", wrong.encode("latin-1"))])
        assert answer.status_code == 401, wrong
    assert keyed.client.get("/projects", headers={"authorization": f"bearer  {key} "}).status_code == 200


def test_a_database_that_is_away_lets_nobody_in(settings: ServiceSettings, sessions: Sessions) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://app@/none?host=/nowhere"})
    with keyed_service(away, sessions) as keyed:
        answer = keyed.new("admin").get("/projects")
        assert_problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "2"


def test_other_processes_hear_of_a_revocation_within_the_cache(
    keyed: Keyed, settings: ServiceSettings, sessions: Sessions
) -> None:
    admin, key = keyed.new("admin"), keyed.key("read")
    with keyed_service(settings, sessions) as other:
        holder = other.holder(key)
        assert holder.get("/projects").status_code == 200
        admin.client.delete(f"/keys/{prefix_of(key)}")
        ended = time.monotonic()
        while holder.get("/projects").status_code == 200:
            assert time.monotonic() - ended < CACHE_SECONDS + 0.5
            time.sleep(0.05)


def test_a_key_that_is_in_use_asks_the_database_once_in_a_while(keyed: Keyed) -> None:
    holder = keyed.new("label")
    queries: list[str] = []
    engine = keyed.app.state.context.sessions.kw["bind"]
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: queries.append(statement))
    before = time.monotonic()
    for _ in range(20):
        assert holder.get("/strategies").status_code == 200
    lookups = [statement for statement in queries if "api_keys" in statement]
    assert len(lookups) <= 1 + (time.monotonic() - before) / CACHE_SECONDS
    assert not [statement for statement in queries if not statement.lstrip().startswith("SELECT")]


def test_rotating_and_using_keys_at_once(keyed: Keyed, settings: ServiceSettings, sessions: Sessions) -> None:
    """Two services rotate one key against each other while both use it: nobody is ever refused, one chain remains."""
    admin_key = keyed.key("admin")
    first = keyed.key("read")
    current, stop, refused, wins = [first], threading.Event(), [], []

    def use(api: Keyed) -> None:
        while not stop.is_set():
            key = current[-1]
            answer = api.holder(key).get("/projects")
            if answer.status_code != 200:
                refused.append((key, answer.text))

    def rotate(api: Keyed) -> None:
        admin: Api = api.holder(admin_key)
        for _ in range(8):
            key = current[-1]
            answer = admin.post(f"/keys/{prefix_of(key)}/rotate", {"grace_seconds": 60})
            if answer.status_code == 201:
                wins.append(prefix_of(key))
                current.append(answer.json()["key"])
            else:
                assert_problem(answer, 409, "key_rotated")

    with keyed_service(settings, sessions) as other:
        users = [threading.Thread(target=use, args=(api,)) for api in (keyed, other)]
        rotators = [threading.Thread(target=rotate, args=(api,)) for api in (keyed, other)]
        for thread in (*users, *rotators):
            thread.start()
        for thread in rotators:
            thread.join(30)
        stop.set()
        for thread in users:
            thread.join(10)
    assert refused == []
    assert len(wins) == len(set(wins)) >= 2
    assert sorted(_replaced(sessions, prefix_of(first))) == sorted(wins)


def _replaced(sessions: Sessions, prefix: str) -> list[str]:
    """The prefixes from this one to the last key that nothing has replaced, which goes on for ever."""
    with sessions.begin() as session:
        rows = {key.prefix: key for key in session.scalars(sa.select(ApiKey))}
    chain = []
    while (successor := rows[prefix].replaced_by) is not None:
        chain.append(prefix)
        prefix = successor
    assert rows[prefix].expires_at is None
    return chain


def test_the_command_line(
    settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("database_url", "redis_url", "artifacts_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))

    def said(*arguments: str) -> str:
        assert keys.main(arguments) == 0
        return capsys.readouterr().out

    limited = ("--requests-per-minute", "600", "--expires-days", "90")
    key = said("create", "--name", "N", "--scope", "label", "--scope", "read", "--project", "p", *limited).strip()
    line = said("list").split("\t")
    assert line[:2] == [prefix_of(key), "live"]
    assert line[3:6] == ["label,read", "p", "600/min"]
    assert f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}" in line[6]
    new = said("rotate", prefix_of(key), "--grace-seconds", "0").strip()
    states = {row.split("\t")[0]: row.split("\t")[1] for row in said("list").splitlines()}
    assert states == {prefix_of(key): "expired", prefix_of(new): "live"}
    assert keys.main(["rotate", prefix_of(key)]) == 1
    assert "no live key" in capsys.readouterr().err
    assert said("audit") == ""
    for wrong in (
        ("create",),
        ("create", "--name", "n", "--scope", "all"),
        ("create", "--name", "n", "--project", "a/b"),
    ):
        with pytest.raises(SystemExit):
            keys.main(wrong)
