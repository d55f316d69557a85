"""`lookahead watch PROJECT` hears of what happens, and survives a connection that does not."""

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

from client.sdk import Client
from embedded.process import wait_until
from embedded.supervisor import Supervisor
from tests.api import names, vectors
from tests.client.relay import Relay, relaying
from tests.client.typed import LOOKAHEAD


class Line(Relay):
    """It can be cut, and mended. `said` is what went towards the service."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.said, self.whole = bytearray(), True

    def connects(self) -> bool:
        return self.whole

    def passes(self, data: bytes) -> bool:
        self.said += data
        return True

    def cut(self) -> None:
        self.whole = False
        super().cut()


def test_a_watched_project_is_heard_of_through_a_lost_connection(
    running: Supervisor, client: Client, tmp_path: Path
) -> None:
    name = f"p-{uuid.uuid4().hex[:8]}"
    client.create_project(name, ["a", "b"])
    client.upload_pool(name, vectors(3), names(3))
    heard, told = tmp_path / "out", tmp_path / "err"

    def labels() -> list[Any]:
        return [json.loads(one)["project"]["labels"] for one in heard.read_text().splitlines()]

    with relaying(Line(running.url)) as line, heard.open("w") as out, told.open("w") as err:
        command = [str(LOOKAHEAD), "watch", name, "--json", "--for", "100", "--url", line.url]
        watching = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, "COLUMNS": "200"})
        try:
            assert wait_until(lambda: b"GET /events?project=" + name.encode() in line.said, 20)
            client.label(name, "item-0", "a")
            assert wait_until(lambda: labels() == [0, 1], 20)
            line.cut()
            assert wait_until(lambda: "The connection is lost: " in told.read_text(), 20)
            client.label(name, "item-1", "b")
            assert watching.poll() is None
            line.whole = True
            assert wait_until(lambda: labels() == [0, 1, 2], 20)
            lost, back = told.read_text().splitlines()
            assert lost == f"The connection is lost: {line.url} does not answer. Trying again until it is back."
            assert back == "Connected again."
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 130
        finally:
            watching.kill()
            watching.wait()
    assert told.read_text().splitlines()[-1] == "Stopped."
