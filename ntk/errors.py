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


class UnsupportedNetworkError(NTKError):
    """The network has no tangent kernel per item, or not one over class scores; the message says why."""


class ChangingPassError(UnsupportedNetworkError):
    """The forward pass takes different ways for different items, so that no plan fits all of them."""


class TooLargeError(NTKError):
    """What was asked for needs more memory than was allowed; the message has the numbers."""
