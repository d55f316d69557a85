"""The `lookahead` command line: what the HTTP interface does, from a shell."""

import typer

from client.cli_common import COMMON, AsJson, Common, FirstKey, FirstUrl
from client.cli_lazy import COMMANDS, Entry, LazyCommands

_LABELING, _DATA, _SERVICE = "Labeling", "Projects and what is in them", "The service"

# A test compares the summaries with what the commands say of themselves.
COMMANDS |= {
    "suggest": Entry("client.cli_suggest:suggest", "Say what to label next, and why.", _LABELING),
    "label": Entry("client.cli_labels:label", "Label one item.", _LABELING),
    "labels": Entry("client.cli_labels:labels_app", "Many labels at once, and their log.", _LABELING),
    "leases": Entry("client.cli_leases:leases_app", "Items that annotators hold.", _LABELING),
    "predictions": Entry("client.cli_predictions:predictions", "Print what is predicted for items.", _LABELING),
    "strategies": Entry("client.cli_suggest:strategies", "List the strategies.", _LABELING),
    "label-studio": Entry(
        "client.cli_label_studio:label_studio_app",
        "Label Studio: it labels, and serves tasks in our order.",
        _LABELING,
    ),
    "project": Entry("client.cli_projects:project_app", "Projects.", _DATA),
    "pool": Entry("client.cli_pool:pool_app", "Pools: the items of a project.", _DATA),
    "items": Entry("client.cli_items:items_app", "Items of a project.", _DATA),
    "checkpoint": Entry("client.cli_checkpoints:checkpoint_app", "Checkpoints: networks that you have trained.", _DATA),
    "train": Entry("client.cli_jobs:train", "Train a network on the labels so far, and prepare it.", _DATA),
    "jobs": Entry("client.cli_jobs:jobs_app", "Jobs: what the workers do.", _DATA),
    "watch": Entry(
        "client.cli_watch:watch",
        "Follow a job until it has ended, or a project live until Ctrl-C; with --json one object a line.",
        _DATA,
    ),
    "status": Entry(
        "client.cli_service:status",
        "Say whether the service is up and what its parts say; exit status 1 where one is away.",
        _SERVICE,
    ),
    "ping": Entry(
        "client.cli_service:ping", "Say whether the service's process answers; ask nothing of its parts.", _SERVICE
    ),
    "workers": Entry(
        "client.cli_insight:show_workers",
        "Show the workers: what they do, what they keep warm, and how long labels and suggestions take.",
        _SERVICE,
    ),
    "queues": Entry(
        "client.cli_insight:show_queues",
        "Show the queues: how many jobs wait, for how long, and how many workers serve them.",
        _SERVICE,
    ),
    "events": Entry(
        "client.cli_insight:show_events",
        "Print jobs, projects and workers as they change, one JSON object a line, until Ctrl-C.",
        _SERVICE,
    ),
    "metrics": Entry(
        "client.cli_service:metrics", "Print what the service and its workers count, as Prometheus reads it.", _SERVICE
    ),
    "uploads": Entry("client.cli_service:uploads_app", "Files in parts: sent ahead, gone on with, given up.", _SERVICE),
    "key": Entry(
        "client.cli_keys:key_app", "API keys, through the service (`lookahead keys`: in its database).", _SERVICE
    ),
    "audit": Entry("client.cli_keys:audit", "Print who changed what, or was refused.", _SERVICE),
    "completion": Entry(
        "client.cli_service:completion",
        "Print what makes the shell complete commands, options and names of projects.",
        _SERVICE,
    ),
}

app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 refused, failed, or not found; 2 words that make no command; 3 no service answers; "
    "130 stopped with Ctrl-C.",
)


@app.callback()
def before_every_command(url: FirstUrl = None, key: FirstKey = None, as_json: AsJson = False) -> None:
    """Tell annotators what to label next."""
    COMMON.set(Common(url, key, as_json))
