"""What can go wrong in the store, told apart so that callers can react."""


class StoreError(Exception):
    """Base of every error raised by the store."""


class ArtifactError(StoreError):
    """An artifact cannot be had; `artifact` is its name."""

    def __init__(self, detail: str, artifact: str) -> None:
        super().__init__(detail)
        self.artifact = artifact


class ArtifactMissingError(ArtifactError):
    """An artifact that a table refers to is not in the artifact storage."""


class ArtifactCorruptError(ArtifactError):
    """An artifact's bytes do not match the content hash it is named by."""


class StorageFullError(StoreError):
    """The disk or the quota behind the artifacts is full: nothing was kept."""


class StaleStateError(StoreError):
    """Another worker advanced the kernel state in between; synchronise and compute again."""


class LeasedMeanwhileError(StoreError):
    """Another worker handed out one of the items first; choose again without them."""


class ProjectGoneError(StoreError):
    """The project was deleted in between."""


class KeyReusedError(StoreError):
    """An idempotency key came again with another request."""


class UploadMissingError(StoreError):
    """There is no such upload, or it is somebody else's, or it has expired."""


class UploadBusyError(StoreError):
    """Another request holds the upload."""


class UploadOffsetError(StoreError):
    """Bytes do not go on where the upload stands."""


class UploadsFullError(StoreError):
    """There is no room for another upload."""
