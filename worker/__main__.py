"""`python -m worker`."""

import sys

from store.settings import from_environment
from worker.settings import WorkerSettings

if not {"-h", "--help"}.intersection(sys.argv[1:]):
    # What is missing is said at once, not after the seconds that loading takes.
    from_environment(WorkerSettings)

from worker.main import main

sys.exit(main())
