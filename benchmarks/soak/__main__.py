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
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Setting:
    """What a run is asked to do."""

    kills: int
    seed: int
    minutes: float | None
    ready_seconds: float

    @property
    def seconds(self) -> float:
        """When it must be over."""
        return SECONDS_BESIDES + (self.kills * SECONDS_PER_KILL if self.minutes is None else 60 * self.minutes)


class Soak:
    """A whole run on a home folder, bounded in time; afterwards `wrong` says what the deployment itself did wrong."""

    def __init__(self, home: Path, setting: Setting) -> None:
        self._setting = setting
        self._stop = threading.Event()
        self._deployment = Deployment(home, setting.seed, lambda line: console.print(f"        {line}"))
        self.run = Run(self._deployment, setting.seed, setting.ready_seconds, self._stop, console.print)
        self.wrong: list[str] = []

    def go(self) -> None:
        """Start, drive, watch, stop. Returns also when something of that fails."""
        timers = [
            threading.Timer(self._setting.seconds, self._overdue),
            threading.Timer(self._setting.seconds + HARD_STOP_SECONDS, self._hopeless),
        ]
        for timer in timers:
            timer.daemon = True
            timer.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        driver = threading.Thread(target=self._drive, name="driver", daemon=True)
        try:
            with self._deployment.supervisor as supervisor:
                driver.start()
                supervisor.watch()
        except (StartError, StopRequested) as error:
            self.wrong.append(f"the supervisor gave up: {error}")
            self._stop.set()
        if driver.ident is not None:
            driver.join(HARD_STOP_SECONDS / 2)
        for timer in timers:
            timer.cancel()
        if self._stop.is_set() and not self.wrong:
            self.wrong.append("the run was interrupted")
        self.wrong += [f"still runs after the stop: {line}" for line in self._deployment.leftovers()]

    def _drive(self) -> None:
        try:
            self.run.go(schedule.planned(self._setting.kills, self._setting.seed), self._setting.minutes)
        except Exception as error:
            self.wrong.append(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            # Only now: nothing may be checked in a deployment that is being stopped.
            self._deployment.supervisor.request_stop()

    def _overdue(self) -> None:
        self.wrong.append(f"the run had not ended after {self._setting.seconds:.0f} s")
        self._stop.set()

    def _hopeless(self) -> None:
        console.print("the run cannot be stopped: killing all of it")
        self._deployment.kill_all()
        os._exit(3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 only when every check was made and passed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="label for so long without kills, and watch what grows")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--ready-seconds", type=float, default=10.0, help="longest time from a kill until all serves")
    parser.add_argument("--out", type=Path, help="write everything here as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the home folder also when all is well")
    options = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="lh-soak-")).resolve()
    home.chmod(0o755)
    setting = Setting(options.kills, options.seed, options.minutes, options.ready_seconds)
    began = time.time()
    soak = Soak(home, setting)
    soak.go()
    run = soak.run
    run.outcome.checks["the deployment stayed up and ended without leftovers"] = soak.wrong
    described = asdict(setting) | {
        "whole_run_seconds": round(time.time() - began, 1),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
    found = report.as_json(run.outcome, run.record, described)
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
