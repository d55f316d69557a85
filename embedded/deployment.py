"""Where a deployment's lasting parts are, whether it runs or not, and PostgreSQL's own tools to move them."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from embedded.errors import StartError
from embedded.home import Home, held
from embedded.servers import Postgres
from store.artifacts import Artifacts
from store.database import psycopg_url


@dataclass(frozen=True)
class Deployment:
    """A database that answers, and the artifacts beside it."""

    database_url: str
    artifacts: Artifacts
    tools: Path | None

    def run(self, tool: str, *arguments: str | Path, output: IO[bytes] | None = None) -> None:
        """Run one of PostgreSQL's tools on the database. Raises StartError with what it said."""
        url = psycopg_url(self.database_url).set(drivername="postgresql")
        environment = dict(os.environ)
        if url.password is not None:  # a command line can be read by everybody
            environment["PGPASSWORD"] = str(url.password)
            url = sa.URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
        address = url.render_as_string(hide_password=False)
        command = [str(self._tool(tool)), *map(str, arguments), f"--dbname={address}"]
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise StartError(f"{tool} failed: {done.stderr.decode(errors='replace').strip()}")

    def _tool(self, name: str) -> Path:
        if self.tools is not None and (self.tools / name).exists():
            return self.tools / name
        found = shutil.which(name)
        if found is None:
            raise StartError(
                f"{name} is missing: pip install 'lookahead[embedded]', or install PostgreSQL's client programs."
            )
        return Path(found)


@contextmanager
def opened(home: Path, environment: Mapping[str, str], *, to_write: bool = False) -> Iterator[Deployment]:
    """The deployment that DATABASE_URL and ARTIFACTS_URL name, or else that of the home, started if it does not run.

    `to_write` makes a home where there is none, and takes none that runs. Raises StartError.
    """
    with ExitStack() as stack:
        url = environment.get("DATABASE_URL") or _embedded(home.resolve(), stack, to_write=to_write)
        artifacts = Artifacts(environment.get("ARTIFACTS_URL") or f"file://{home.resolve()}/artifacts")
        yield Deployment(url, artifacts, _tools(home))


def _embedded(home: Path, stack: ExitStack, *, to_write: bool) -> str:
    postgres = Postgres(home)
    if not to_write and not postgres.data.exists():
        raise StartError(f"There is no database in {home}: set DATABASE_URL, or LOOKAHEAD_HOME.")
    if not to_write and held(home):
        return postgres.url
    hold = Home(home)
    hold.take()
    stack.callback(hold.leave)
    stack.enter_context(postgres)
    return postgres.url


def _tools(home: Path) -> Path | None:
    try:
        return Postgres(home).binaries()
    except StartError:
        return None
