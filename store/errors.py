"""What can go wrong in the store, told apart so that callers can react."""


class StoreError(Exception):
    """Base of every error raised by the store."""


class ArtifactMissingError(StoreError):
    """An artifact that a table refers to is not in the artifact storage."""


class ArtifactCorruptError(StoreError):
    """An artifact's bytes do not match the content hash it is named by."""


class StaleStateError(StoreError):
    """Another worker advanced the kernel state in between; synchronise and compute again."""


class LeasedMeanwhileError(StoreError):
    """Another worker handed out one of the items first; choose again without them."""


class KeyReusedError(StoreError):
    """An idempotency key came again with another request."""
