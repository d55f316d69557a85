"""What a call can end in besides its answer."""

from api_schemas.common import Problem


class LookaheadError(Exception):
    """Base of every error the client raises."""


class ApiError(LookaheadError):
    """The service refused; `problem` says why and what would be right."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.code = problem.code
        self.detail = problem.detail
        self.status = problem.status


class UnreachableError(LookaheadError):
    """Nothing answers at the address, or it is no address."""


class InterruptedUploadError(UnreachableError):
    """A file is sent in part; `upload` is the id to go on with."""

    def __init__(self, upload: str, reason: str) -> None:
        super().__init__(f"{reason}. What was sent is kept for a day: go on with upload {upload}")
        self.upload = upload


class UnexpectedAnswerError(LookaheadError):
    """Something answers at the address, and it is not a Lookahead service that this client understands."""


class JobFailedError(LookaheadError):
    """A job ended without succeeding."""


class WaitTimeoutError(LookaheadError):
    """A job has not ended in the time given; it goes on."""


class MissingPackageError(LookaheadError):
    """Something needs a package that is not installed."""

    def __init__(self, what: str, package: str, extra: str | None = None) -> None:
        install = package if extra is None else f"'lookahead[{extra}]'"
        super().__init__(f"{what} needs {package}, which is not installed: pip install {install}")
