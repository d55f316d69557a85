"""Kill every part of a deployment at random while eight clients label, then prove that nothing was lost.

python -m benchmarks.soak --kills 200 --seed 7
python -m benchmarks.soak --minutes 60            # no kills: does anything grow?
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.soak import report, schedule
from benchmarks.soak.deployment import Deployment
from benchmarks.soak.run import Run
from embedded.errors import StartError, StopRequested

SECONDS_PER_KILL = 20.0
SECONDS_BESIDES = 300.0
HARD_STOP_SECONDS = 120.0
console = Console(highlight=False, soft_wrap=True)


def soak(home: Path, *, kills: int, seed: int, minutes: float | None) -> tuple[Run, list[str]]:
    """A whole run on a home folder; (the run, what the deployment itself did wrong). Bounded in time."""
    stop = threading.Event()
    deployment = Deployment(home, seed, lambda line: console.print(f"        {line}"))
    run = Run(deployment, seed, stop, console.print)
    wrong: list[str] = []
    seconds = SECONDS_BESIDES + (kills * SECONDS_PER_KILL if minutes is None else 60 * minutes)

    def drive() -> None:
        try:
            run.go(schedule.planned(kills, seed), minutes)
        except Exception as error:
            wrong.append(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            deployment.supervisor.request_stop()

    def overdue() -> None:
        wrong.append(f"the run had not ended after {seconds:.0f} s")
        stop.set()

    def hopeless() -> None:
        console.print("the run cannot be stopped: killing all of it")
        deployment.kill_all()
        os._exit(3)

    timers = [threading.Timer(seconds, overdue), threading.Timer(seconds + HARD_STOP_SECONDS, hopeless)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    driver = threading.Thread(target=drive, name="driver", daemon=True)
    try:
        with deployment.supervisor as supervisor:
            driver.start()
            supervisor.watch()
            # A supervisor that is asked to stop must not stop while checks still run.
            driver.join(SECONDS_BESIDES)
    except (StartError, StopRequested) as error:
        wrong.append(f"the supervisor gave up: {error}")
        stop.set()
        if driver.ident is not None:
            driver.join(HARD_STOP_SECONDS / 2)
    for timer in timers:
        timer.cancel()
    if stop.is_set() and not wrong:
        wrong.append("the run was interrupted")
    wrong += [f"still runs after the stop: {line}" for line in deployment.leftovers()]
    return run, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 only when every check was made and passed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="label for so long without kills, and watch what grows")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write everything here as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the home folder also when all is well")
    options = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="lh-soak-")).resolve()
    home.chmod(0o755)
    began = time.time()
    run, wrong = soak(home, kills=options.kills, seed=options.seed, minutes=options.minutes)
    run.outcome.checks["the deployment stayed up and ended without leftovers"] = wrong
    setting = {
        "kills": 0 if options.minutes else options.kills,
        "minutes": options.minutes,
        "seed": options.seed,
        "whole_run_seconds": round(time.time() - began, 1),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    found = report.as_json(run.outcome, run.record, setting)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2, default=str) + "\n")
    report.show(console, found)
    if run.outcome.passed and not options.keep:
        shutil.rmtree(home, ignore_errors=True)
    else:
        console.print(f"logs and data are kept in {home}")
    console.print("PASSED" if run.outcome.passed else "FAILED")
    return 0 if run.outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
