"""Commands that run things on this machine."""

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from embedded.errors import StartError, StopRequested
from embedded.home import secret_key
from embedded.offer import Offer
from embedded.process import python_environment
from embedded.servers import Postgres
from embedded.supervisor import Supervisor, default_children

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

HOME_DEFAULT = Path(".lookahead")


def up(
    port: Annotated[int, typer.Option(envvar="PORT", help="Where the service listens.")] = 8000,
    host: Annotated[str, typer.Option(envvar="HOST", help="Address to bind.")] = "127.0.0.1",
    home: Annotated[Path, typer.Option(envvar="LOOKAHEAD_HOME", help="Data folder.")] = HOME_DEFAULT,
    workers: Annotated[
        int, typer.Option(envvar="LOOKAHEAD_WORKERS", min=1, max=64, help="Workers that answer suggestions.")
    ] = 1,
    service_processes: Annotated[
        int, typer.Option(envvar="LOOKAHEAD_SERVICE_PROCESSES", min=1, max=64, help="Processes that serve HTTP.")
    ] = 1,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample/--no-sample",
            envvar="LOOKAHEAD_SAMPLE",
            help="Make the sample project digits, where there is no project yet.",
        ),
    ] = True,
    give_up_after: Annotated[
        int,
        typer.Option(
            envvar="LOOKAHEAD_GIVE_UP_AFTER",
            min=0,
            help="Stop everything when a part ended so many times in a row within seconds of its start; 0: never.",
        ),
    ] = 5,
) -> None:
    """Run everything on this machine: PostgreSQL, Valkey, service and workers. Ctrl-C stops it all."""
    supervisor = Supervisor(
        home,
        port=port,
        host=host,
        environment={**os.environ, "LOOKAHEAD_SERVICE_PROCESSES": str(service_processes)},
        children=default_children(workers),
        say=lambda line: console.print(f"[dim]{escape(line)}[/]"),
        give_up_after=give_up_after,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means to go on
            signal.signal(number, lambda _, __: supervisor.request_stop())
    try:
        with supervisor as running:
            console.print(
                f"[bold]Lookahead is ready: the dashboard is at {running.url}[/]  (reference: {running.url}/docs)"
            )
            console.print(f"Data lies in {running.home}. Ctrl-C stops everything.")
            with Offer(running, lambda line: console.print(line, markup=False)) if sample else nullcontext():
                running.watch()
    except StartError as error:
        errors.print(str(error), markup=False)
        raise typer.Exit(1) from None
    except OSError as error:
        errors.print(f"This machine does not let Lookahead run: {error}", markup=False)
        raise typer.Exit(1) from None
    except StopRequested:
        pass
    console.print("[dim]Everything is stopped.[/]")


def _become(module: str, arguments: list[str]) -> None:
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], python_environment(os.environ))


def worker(context: typer.Context) -> None:
    """Run one worker against DATABASE_URL, REDIS_URL and ARTIFACTS_URL: --queues bulk,interactive."""
    _become("worker", context.args)


def migrate() -> None:
    """Bring the database at DATABASE_URL to the newest schema."""
    _become("migrations", [])


def keys(
    context: typer.Context,
    home: Annotated[Path, typer.Option(envvar="LOOKAHEAD_HOME", help="Data folder of `lookahead up`.")] = HOME_DEFAULT,
) -> None:
    """Make, list and end API keys: create --name N | list | rotate PREFIX | revoke PREFIX | audit | reencrypt.

    Talks to DATABASE_URL, or else to the database of a running `lookahead up`.
    """
    if "DATABASE_URL" not in os.environ:
        if not Postgres(home).data.exists():
            errors.print(f"There is no database in {home}: set DATABASE_URL, or LOOKAHEAD_HOME.", markup=False)
            raise typer.Exit(1)
        os.environ["DATABASE_URL"] = Postgres(home).url
        os.environ.setdefault("LOOKAHEAD_SECRET_KEYS", secret_key(home))
    # The other addresses are not used for keys.
    os.environ.setdefault("REDIS_URL", "redis://127.0.0.1")
    os.environ.setdefault("ARTIFACTS_URL", f"file://{home.resolve()}/artifacts")
    _become("service.keys", context.args)


def demo(context: typer.Context) -> None:
    """Label digits with Lookahead and with chance, side by side; takes about a minute."""
    _become("demo", context.args)
