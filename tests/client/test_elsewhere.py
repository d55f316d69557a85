"""The same code on servers that somebody else keeps."""

import os
import tempfile
from pathlib import Path

from client.sdk import Client
from embedded.servers import Valkey
from embedded.supervisor import Supervisor
from tests.api import names, vectors


def test_given_addresses_are_used_and_nothing_is_embedded(database_url: str, valkey: Valkey, tmp_path: Path) -> None:
    given = {
        **os.environ,
        "DATABASE_URL": database_url.replace("postgresql+psycopg", "postgresql"),
        "REDIS_URL": valkey.url,
        "ARTIFACTS_URL": f"file://{tmp_path}/elsewhere",
    }
    with (
        tempfile.TemporaryDirectory(prefix="lh-") as home,
        Supervisor(Path(home), port=0, environment=given) as running,
        Client(running.url) as client,
    ):
        client.create_project("p", ["a", "b"])
        client.upload_pool("p", vectors(5), names(5))
        assert len(client.suggest("p", 5, strategy="random").suggestions) == 5
        assert sorted(path.name for path in Path(home).iterdir()) == ["lock", "logs"]
        assert list((tmp_path / "elsewhere").rglob("*"))
