"""What can go wrong numerically, told apart."""


class NTKError(Exception):
    """Base of every error raised by this package."""


class NonFiniteError(NTKError):
    """A number that should be finite is NaN or infinite."""


class NotPositiveDefiniteError(NTKError):
    """A matrix that should be positive definite is not, even with `jitter` on its diagonal."""

    def __init__(self, message: str, jitter: float = 0.0) -> None:
        super().__init__(message)
        self.jitter = jitter


class UnsupportedLayerError(NTKError):
    """No rule says how a layer's parameters enter the tangent kernel."""
