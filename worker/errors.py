"""How a job ends other than well. `code` and the message go into the job's record."""


class JobError(Exception):
    """The job cannot succeed as asked; trying again would not help, or not before another job has ended: `job`."""

    def __init__(self, code: str, detail: str, *, job: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.job = job


class CancelledError(Exception):
    """Somebody asked for the job to stop, or it was given to another worker."""


class ShuttingDownError(Exception):
    """The worker was asked to stop: the job goes back to the queue."""


class CheckpointError(JobError):
    """The checkpoint's bytes do not make the network its manifest promises."""

    def __init__(self, detail: str) -> None:
        super().__init__("invalid_checkpoint", detail)
