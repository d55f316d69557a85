"""The embedded servers: real ones, killed and found again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy as sa

from embedded import servers
from embedded.errors import StartError
from embedded.process import alive, wait_gone, wait_until
from embedded.servers import Postgres, Valkey


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lh-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


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
        client = redis.Redis.from_url(valkey.url)
        client.set("kept", "42")
        client.close()
    with Postgres(place) as postgres:
        assert query(postgres, "SELECT answer FROM kept") == [(42,)]
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        assert wait_until(lambda: not postgres.alive(), 5)
        postgres.start()
        assert query(postgres, "SELECT answer FROM kept") == [(42,)]
    with Valkey(place) as valkey, redis.Redis.from_url(valkey.url) as client:
        assert client.get("kept") == b"42"


def test_what_a_killed_owner_left_behind_is_stopped(place: Path) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from embedded.servers import Postgres, Valkey
        postgres, valkey = Postgres(Path({str(place)!r})), Valkey(Path({str(place)!r}))
        postgres.start(); valkey.start()
        print(postgres.pid, valkey.pid, flush=True)
        time.sleep(60)
    """
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    postgres_pid, valkey_pid = (int(part) for part in owner.stdout.readline().split())
    owner.kill()
    owner.wait()
    assert alive(postgres_pid)
    with Postgres(place) as postgres, Valkey(place):
        assert postgres.pid != postgres_pid
        assert not alive(postgres_pid)
        assert wait_gone(valkey_pid, 5)
        assert query(postgres, "SELECT 1") == [(1,)]


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
        servers.private_folder(link, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have a home that others cannot enter")
def test_a_home_that_only_root_may_enter(place: Path) -> None:
    place.chmod(0o700)
    with Postgres(place / "home") as postgres:
        assert query(postgres, "SELECT 1") == [(1,)]
        assert not str(postgres.data).startswith(str(place))
        shutil_target = postgres.data.parent
    shutil.rmtree(shutil_target)


def test_a_failed_start_shows_the_log(place: Path) -> None:
    with Postgres(place):
        pass
    (place / "pg" / "PG_VERSION").write_text("7\n")
    with pytest.raises(StartError, match=r"PG_VERSION|version"):
        Postgres(place).start()
