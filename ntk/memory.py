"""The C library's memory, kept instead of handed back."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in <malloc.h>


def keep_freed_memory(limit: int = 2**31 - 1) -> bool:
    """Let this process reuse freed blocks of up to `limit` bytes instead of returning them to the system.

    A kernel is computed through large temporaries. Where each is a fresh mapping, the system clears its pages first,
    which on virtual machines takes longer than the arithmetic on them. Returns whether the C library took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, limit)) and bool(mallopt(_TRIM_THRESHOLD, limit))
