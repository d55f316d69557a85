"""What can go wrong between us and a Label Studio server."""


class LabelStudioError(Exception):
    """Base; the text says what was wrong and what would be right, and holds no secret."""


class UnreachableError(LabelStudioError):
    """The server did not answer, not in time, or not with what its interface promises."""


class RefusedError(LabelStudioError):
    """The server answered that it will not."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


class AddressRefusedError(LabelStudioError):
    """We will not ask this address: it is private or no address for this at all."""


class ConfigError(LabelStudioError):
    """The labeling configuration has nothing that we could serve; the text says what is there."""
