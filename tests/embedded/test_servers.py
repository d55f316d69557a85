"""The embedded servers: real ones, killed and found again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy as sa

from embedded import places
from embedded.errors import StartError
from embedded.process import wait_gone, wait_until
from embedded.servers import Postgres, Server, Valkey
from worker.identity import alive


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lh-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def state(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What root keeps for the unprivileged user, kept with the test instead."""
    monkeypatch.setattr(places, "_STATE", place / "state")
    return place / "state"


def query(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    host = str(sa.make_url(server.url).query["host"])
    with psycopg.connect(host=host, user="app", dbname="postgres", autocommit=True) as connection:
        cursor = connection.execute(statement)
        return list(cursor) if cursor.description else []


def test_data_outlives_a_stop_and_a_kill(place: Path) -> None:
    with Postgres(place) as postgres, Valkey(place) as valkey:
        query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert query(postgres, "SHOW fsync") == [("on",)]
        assert query(postgres, "SHOW listen_addresses") == [("",)]
        # File by file it took seconds until a killed server was back.
        if sys.platform == "linux":
            assert query(postgres, "SHOW recovery_init_sync_method") == [("syncfs",)]
        client = redis.Redis.from_url(valkey.url)
        client.set("kept", "42")
        client.close()
    with Postgres(place) as postgres:
        assert query(postgres, "SELECT answer FROM kept") == [(42,)]
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        assert wait_until(lambda: not postgres.alive(), 30)
        postgres.start()
        assert query(postgres, "SELECT answer FROM kept") == [(42,)]
    with Valkey(place) as valkey, redis.Redis.from_url(valkey.url) as client:
        assert client.get("kept") == b"42"


def kill_an_owner(place: Path, *, orphans: bool) -> tuple[int, int]:
    """Process ids of the servers of an owner that was killed; `orphans`: as on systems that tell no child."""
    script = f"""
        import sys, time
        from pathlib import Path
        from embedded import process
        from embedded.servers import Postgres, Valkey
        if {orphans}:
            process.die_with_parent = lambda *_: None
        postgres, valkey = Postgres(Path({str(place)!r})), Valkey(Path({str(place)!r}))
        postgres.start(); valkey.start()
        print(postgres.pid, valkey.pid, flush=True)
        time.sleep(60)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        postgres, valkey = (int(part) for part in owner.stdout.readline().split())
        owner.kill()
    return postgres, valkey


def test_what_a_killed_owner_left_behind_is_stopped(place: Path) -> None:
    left = kill_an_owner(place, orphans=True)
    assert all(alive(pid) for pid in left)
    with Postgres(place) as postgres, Valkey(place) as valkey:
        assert not any(alive(pid) for pid in left)
        assert {postgres.pid, valkey.pid}.isdisjoint(left)
        assert query(postgres, "SELECT 1") == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_killed_owner_takes_its_servers_along(place: Path) -> None:
    assert all(wait_gone(pid, 5) for pid in kill_an_owner(place, orphans=False))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_busy_connection_does_not_keep_a_killed_server_from_starting_again(place: Path) -> None:
    with Postgres(place) as postgres:
        host = str(sa.make_url(postgres.url).query["host"])
        with closing(psycopg.connect(host=host, user="app", dbname="postgres", autocommit=True)) as connection:
            busy = connection.info.backend_pid
            connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
            state = f"SELECT state FROM pg_stat_activity WHERE pid = {busy}"
            assert wait_until(lambda: query(postgres, state) == [("active",)], 30)
            assert postgres.pid is not None
            os.kill(postgres.pid, signal.SIGKILL)
            assert wait_until(lambda: not postgres.alive(), 30)
            postgres.start()
            assert query(postgres, "SELECT 1") == [(1,)]


def test_a_stale_process_file_is_no_orphan(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for server in (Postgres(place), Valkey(place)):
        with server:
            pass
    monkeypatch.setenv("PATH", "/nowhere")  # slim images have no ps
    for pid in (2**22 - 1, os.getpid()):
        (place / "pg" / "postmaster.pid").write_text(f"{pid}\n{place}/pg\n")
        (place / "valkey" / "valkey.pid").write_text(str(pid))
        with Postgres(place) as postgres, Valkey(place):
            assert query(postgres, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_an_interrupted_start_leaves_nothing(place: Path, kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server = kind(place)
    seen: list[int | None] = []

    def interrupt(_: Server) -> bool:
        seen.append(server.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "_answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert seen[0] is not None
    assert not alive(seen[0])


def test_an_interrupted_set_up_is_repaired(place: Path) -> None:
    (place / "pg.new").mkdir()
    (place / "pg.new" / "half").write_text("")
    with Postgres(place) as postgres:
        assert query(postgres, "SELECT 1") == [(1,)]


def test_a_long_path(place: Path) -> None:
    with Postgres(place / ("x" * 120)) as postgres, Valkey(place / ("x" * 120)) as valkey:
        assert query(postgres, "SELECT 1") == [(1,)]
        with redis.Redis.from_url(valkey.url) as client:
            assert client.ping()


def test_folders_are_private_and_nobody_elses(place: Path) -> None:
    with Postgres(place), Valkey(place):
        for folder in (place / "run", place / "valkey", place / "pg"):
            assert folder.stat().st_mode & 0o077 == 0
    link = place / "link"
    link.symlink_to(place / "run")
    with pytest.raises(StartError, match="somebody else"):
        places.private_folder(link, None)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a home that others cannot enter")


@as_root
def test_a_home_that_only_root_may_enter(place: Path, state: Path) -> None:
    (place / "own").mkdir(mode=0o700)
    home = place / "own" / "home"
    with Postgres(home) as postgres:
        query(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert postgres.data.is_relative_to(state)
        assert postgres.data.parent.stat().st_mode & 0o077 == 0
    with Postgres(home.rename(place / "own" / "moved")) as postgres:
        assert query(postgres, "SELECT answer FROM kept") == [(42,)]
    with Postgres(home) as postgres:  # a new home starts empty, whatever was there once
        assert query(postgres, "SELECT to_regclass('kept')") == [(None,)]
    shutil.rmtree(postgres.data)
    with pytest.raises(StartError, match="gone"):
        Postgres(home).start()


@as_root
def test_a_home_that_others_can_no_longer_enter_is_not_replaced_by_an_empty_one(place: Path, state: Path) -> None:
    home = place / "own" / "home"
    with Postgres(home):
        pass
    (place / "own").chmod(0o700)
    with pytest.raises(StartError, match="can no longer enter"):
        Postgres(home).start()
    assert not state.exists()


@as_root
def test_binaries_that_only_root_may_read_are_copied_once(
    place: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedded.servers.reachable", lambda path: "site-packages" not in str(path))
    for _ in range(2):
        with Postgres(place) as postgres:
            assert query(postgres, "SELECT 1") == [(1,)]
    assert [folder.name.partition("-")[0] for folder in state.iterdir()] == ["binaries"]


def test_a_home_of_any_name_and_a_port_in_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "5433")
    name = "a b%20c#d?e,f'g\"h\\{}ü"
    with Postgres(place / name) as postgres, Valkey(place / name) as valkey:
        engine = sa.create_engine(postgres.url)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT datlocprovider FROM pg_database LIMIT 1")) == "b"
        engine.dispose()
        with redis.Redis.from_url(valkey.url) as client:
            assert client.ping()


def aof(place: Path) -> Path:
    (found,) = (place / "valkey" / "appendonlydir").glob("*.incr.aof")
    return found


def filled(place: Path) -> None:
    with Valkey(place) as valkey, redis.Redis.from_url(valkey.url) as client:
        client.set("first", "1")
        client.set("last", "2")


def test_a_journal_cut_short_loses_only_its_last_command(place: Path) -> None:
    filled(place)
    journal = aof(place)
    journal.write_bytes(journal.read_bytes()[:-5])
    said: list[str] = []
    with Valkey(place, say=said.append) as valkey, redis.Redis.from_url(valkey.url) as client:
        assert (client.get("first"), client.get("last")) == (b"1", None)
    assert said == []


def test_a_journal_that_cannot_be_read_is_set_aside(place: Path) -> None:
    filled(place)
    journal = aof(place)
    data = journal.read_bytes()
    journal.write_bytes(b"no journal at all" + data)
    said: list[str] = []
    with Valkey(place, say=said.append) as valkey, redis.Redis.from_url(valkey.url) as client:
        assert client.get("first") is None
    (aside,) = (place / "valkey").glob("appendonlydir.unreadable-*")
    assert (aside / journal.name).read_bytes().endswith(data)
    assert "the queue begins anew" in said[0]
    with Valkey(place, say=said.append):
        pass
    assert len(said) == 1


def test_a_start_that_fails_for_another_reason_leaves_the_journal_in_place(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(place)
    data = aof(place).read_bytes()
    monkeypatch.setattr("embedded.servers.valkey_binary", lambda: Path(shutil.which("false") or "false"))
    with pytest.raises(StartError):
        Valkey(place).start()
    assert aof(place).read_bytes() == data
    assert not list((place / "valkey").glob("*.unreadable-*"))


def test_a_failed_start_shows_the_log(place: Path) -> None:
    with Postgres(place):
        pass
    (place / "pg" / "PG_VERSION").write_text("7\n")
    with pytest.raises(StartError, match=r"PG_VERSION|version"):
        Postgres(place).start()
