"""What stops a start, in one sentence that says what to do."""


class StartError(Exception):
    """Something on this machine keeps Lookahead from starting; the message says what to do about it."""


class EndedError(StartError):
    """What was started ended by itself before it answered."""


class StopRequested(Exception):  # noqa: N818 - nothing went wrong
    """Somebody asked for a stop before everything had started."""
