"""Tests run next to each other: one thread each for torch, or they fight over the cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
