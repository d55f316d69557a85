"""Lookahead from Python: talk to a service, and hand it the network that you have trained.

>>> from lookahead import Client, save_checkpoint
"""

from client.aio.sdk import AsyncClient
from client.errors import (
    ApiError,
    InterruptedUploadError,
    JobFailedError,
    LookaheadError,
    MissingPackageError,
    UnexpectedAnswerError,
    UnreachableError,
    WaitTimeoutError,
)
from client.sdk import Client
from client.sources.text import text_vectors
from lookahead.checkpoints import SavedCheckpoint, save_checkpoint
from lookahead.errors import CheckpointMismatchError, UnknownArchitectureError

__all__ = [
    "ApiError",
    "AsyncClient",
    "CheckpointMismatchError",
    "Client",
    "InterruptedUploadError",
    "JobFailedError",
    "LookaheadError",
    "MissingPackageError",
    "SavedCheckpoint",
    "UnexpectedAnswerError",
    "UnknownArchitectureError",
    "UnreachableError",
    "WaitTimeoutError",
    "save_checkpoint",
    "text_vectors",
]
