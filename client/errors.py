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
        self.status = problem.status


class UnreachableError(LookaheadError):
    """Nothing answers at the address."""


class JobFailedError(LookaheadError):
    """A job ended without succeeding."""
