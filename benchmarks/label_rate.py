"""How many labels per second are accepted with durable commits, over HTTP, beside what the database itself can commit.

    python -m benchmarks.label_rate

The service, its workers, PostgreSQL and Valkey are started for it on this machine. Clients are kept-alive connections
that send the next label when the last one is answered, so that latency and rate belong together.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
import sqlalchemy as sa
from rich.console import Console

from client.sdk import Client
from embedded.supervisor import Supervisor

CLASSES = 10
console = Console(highlight=False, soft_wrap=True)


async def _one(url: str, bodies: Sequence[bytes], until: float, taken: list[float]) -> None:
    """Send bodies over one connection until the time is up; notes the seconds that each answer took."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for body in bodies:
        started = time.perf_counter()
        if started >= until:
            break
        head = f"POST /label HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(f"a label was refused: {answer.decode()}")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        taken.append(time.perf_counter() - started)
    writer.close()


async def load(url: str, project: str, clients: int, seconds: float, items: int) -> list[float]:
    """Seconds per label, of all clients together. Every client walks through items of its own."""
    random = np.random.default_rng(0)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    share = items // clients
    work = []
    for client in range(clients):
        own = range(client * share, (client + 1) * share)
        bodies = [
            json.dumps(
                {
                    "project": project,
                    "item": f"item-{item}",
                    "label": str(random.integers(CLASSES)),
                    "annotator": f"annotator-{client}",
                    "event_id": f"{client}-{item}",
                }
            ).encode()
            for item in own
        ]
        work.append(_one(url, bodies, until, taken))
    await asyncio.gather(*work)
    return taken


def commits(database_url: str, connections: int, seconds: float) -> float:
    """Durable single-row commits per second by plain SQL from so many connections: the database's own pace."""
    query = sa.make_url(database_url).query
    done = [0] * connections

    def run(which: int) -> None:
        with psycopg.connect(host=str(query["host"]), port=str(query["port"]), user="app", dbname="postgres") as link:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                link.execute("INSERT INTO paced (who) VALUES (%s)", (which,))
                link.commit()
                done[which] += 1

    with psycopg.connect(
        host=str(query["host"]), port=str(query["port"]), user="app", dbname="postgres", autocommit=True
    ) as link:
        link.execute("CREATE TABLE paced (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who integer)")
    threads = [threading.Thread(target=run, args=(which,)) for which in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def measure(clients: int, seconds: float, processes: int) -> dict[str, Any]:
    """The figures of one run."""
    items = int(4000 * seconds)
    os.environ["LOOKAHEAD_SERVICE_PROCESSES"] = str(processes)
    with tempfile.TemporaryDirectory(prefix="lookahead-bench-") as folder:
        Path(folder).chmod(0o755)
        with Supervisor(Path(folder), port=0) as service, Client(service.url) as client:
            client.create_project("bench", [str(k) for k in range(CLASSES)])
            x = np.random.default_rng(0).normal(size=(items, 2)).astype(np.float32)
            client.upload_pool("bench", x, [f"item-{k}" for k in range(items)])
            asyncio.run(load(service.url, "bench", clients, 1.0, clients))  # connections and plans are warm then
            taken = sorted(asyncio.run(load(service.url, "bench", clients, seconds, items)))
            logged = client.project("bench").label_seq
            own = commits(service.environment["DATABASE_URL"], clients, min(seconds, 5.0))
    if logged < len(taken):
        raise RuntimeError(f"{len(taken)} labels were acknowledged, and the log has {logged}")
    return {
        "clients": clients,
        "service processes": processes,
        "labels per second": round(len(taken) / seconds, 1),
        "median ms": round(1000 * statistics.median(taken), 2),
        "p99 ms": round(1000 * taken[int(0.99 * len(taken))], 2),
        "database commits per second": round(own, 1),
        "labels per commit of the database": round(len(taken) / seconds / own, 2),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=1, help="service processes")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args(arguments)
    runs = []
    for clients in options.clients:
        runs.append(measure(clients, options.seconds, options.processes))
        console.print(runs[-1])
    if options.out:
        machine = f"{os.cpu_count()} cores ({platform.machine()})"
        options.out.write_text(json.dumps({"machine": machine, "runs": runs}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
