"""`python -m worker`."""

import gc
import sys

from store.settings import from_environment
from worker.settings import WorkerSettings


def start() -> int:
    """Load the worker and run it; returns its exit status."""
    if not {"-h", "--help"}.intersection(sys.argv[1:]):
        # What is missing is said at once, not after the seconds that loading takes.
        from_environment(WorkerSettings)
    # What loading makes, stays: looking through it takes tenths of a second, later in the midst of answers.
    gc.disable()
    from worker.main import main

    gc.freeze()
    gc.enable()
    return main()


sys.exit(start())
