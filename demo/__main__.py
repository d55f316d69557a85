"""`python -m demo`: label digits with Lookahead and by chance, side by side, on a service of its own."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

PLOT_DEFAULT = Path("demo-out/digits.png")
PORT_MAX = 65535
SPLITS, SPLITS_MIN = 5, 2


class DemoError(Exception):
    """The demonstration cannot be given; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Label digits with Lookahead and by chance, side by side."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    parser = argparse.ArgumentParser(prog="lookahead demo", description=main.__doc__)
    parser.add_argument("--url", help="use a service that runs already")
    parser.add_argument("--key", default=os.environ.get("LOOKAHEAD_API_KEY"), help="its API key (LOOKAHEAD_API_KEY)")
    parser.add_argument(
        "--plot", nargs="?", type=Path, const=PLOT_DEFAULT, help=f"draw the curves, in {PLOT_DEFAULT} unless said"
    )
    parser.add_argument(
        "--splits", type=int, default=SPLITS, help=f"how often: each time on other digits ({SPLITS} unless said)"
    )
    options = parser.parse_args(arguments)
    if options.splits < SPLITS_MIN:
        parser.error(f"--splits is {options.splits}: a mean and its spread take at least {SPLITS_MIN}")
    started = "everything that was started is stopped." if options.url is None else "the service goes on."
    try:
        port = _port()
        return _main(options, port, started)
    except DemoError as error:
        _say(f"The demonstration could not go on: {error}")
        return 1
    except ModuleNotFoundError as error:
        _say(f"The demonstration needs {error.name}: pip install '.[worker,embedded,demo]', or use make demo.")
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C finds nothing left to stop
        # One that passed through text that Python executed (a dataclass being made while libraries load) is remembered,
        # and would end this process by the signal: executing any text forgets it.
        exec("")  # noqa: S102
        _say(f"Interrupted: {started}")
        return 130


def _main(options: argparse.Namespace, port: int, started: str) -> int:
    # Loading is done here, where an interruption or a missing library gets its sentence.
    from client.errors import LookaheadError
    from client.sdk import Client
    from embedded.errors import StartError
    from embedded.supervisor import Supervisor

    try:
        with ExitStack() as stack:
            url = options.url
            if url is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookahead-demo-")))
                folder.chmod(0o755)
                _say("Starting PostgreSQL, Valkey, the service and two workers ...")
                url = stack.enter_context(Supervisor(folder, port=port, environment=_environment())).url
            client = stack.enter_context(Client(url, options.key))
            client.jobs(limit=1)  # whether anybody answers, before the seconds that the rest takes to load
            from demo.show import run

            run(client, options.splits, options.plot)
    except (StartError, LookaheadError, RuntimeError, OSError) as error:
        _say(f"The demonstration could not go on: {error}")
        return 1
    _say(f"{started[0].upper()}{started[1:]} Next: `make up`, then the README's first request.")
    return 0


def _interrupt(_: int, __: FrameType | None) -> None:
    # Once is enough: what comes later must not leave half of it running.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise KeyboardInterrupt


def _port() -> int:
    text = os.environ.get("PORT") or "0"
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise DemoError(f"PORT is {text!r}, and a port is a number up to {PORT_MAX}; without PORT any free one is used")
    return int(text)


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def _environment() -> dict[str, str]:
    """Ours, less what would point the demonstration at somebody's real data."""
    ours = ("DATABASE_URL", "REDIS_URL", "ARTIFACTS_URL", "LOOKAHEAD_AUTH", "LOOKAHEAD_HOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


if __name__ == "__main__":
    sys.exit(main())
