"""The worker's settings, from the environment. Read in main.py only."""

from pydantic import Field

from store.settings import StoreSettings


class WorkerSettings(StoreSettings):
    """Addresses, and what this process may use."""

    lookahead_device: str = Field(
        default="auto",
        description="a torch device such as cpu or cuda:0; auto takes a GPU if there is one",
    )
    lookahead_live_bytes: int = Field(
        default=4 << 30, description="memory for warm posteriors; the least recently used are dropped past it"
    )
    lookahead_kernel_bytes: int = Field(
        default=2 << 30, description="memory for the items of a kernel while it is computed, beside the kernel itself"
    )
    lookahead_keep_jobs_days: int = Field(
        default=30, ge=0, description="days that finished jobs and suggestions that hold nothing are kept; 0: for ever"
    )
    lookahead_threads: int | None = Field(
        default=None, description="CPU threads for torch; default: torch's own choice"
    )
    lookahead_label_studio_seconds: int = Field(
        default=300, ge=10, description="how often a connection to Label Studio reads what its webhooks missed"
    )
