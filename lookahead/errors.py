"""What saving a checkpoint can end in besides a checkpoint."""

from client.errors import LookaheadError


class UnknownArchitectureError(LookaheadError):
    """No architecture of the service is this network; the message says what was looked for and what to give."""


class CheckpointMismatchError(LookaheadError):
    """The service would make another network of this one; the message says which key or layer differs."""
