"""What stops a start, in one sentence that says what to do."""


class StartError(Exception):
    """Something on this machine keeps Lookahead from starting; the message says what to do about it."""
