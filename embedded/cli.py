"""The `lookahead` command: the client's commands, and those that run things on this machine."""

from client.cli import app
from client.cli_lazy import COMMANDS, Entry

__all__ = ["app", "main"]

_HERE, _DATA = "On this machine", "Projects and what is in them"
# What comes after these is for the program that they become.
_PASS_ON = {"context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}}

COMMANDS |= {
    "up": Entry(
        "embedded.cli_run:up",
        "Run everything on this machine: PostgreSQL, Valkey, service and workers. Ctrl-C stops it all.",
        _HERE,
    ),
    "demo": Entry(
        "embedded.cli_run:demo",
        "Label digits with Lookahead and with chance, side by side; takes about a minute.",
        _HERE,
        _PASS_ON,
    ),
    "sample": Entry(
        "embedded.cli_sample:sample",
        "Make a project to try things with: handwritten digits, a few of them labeled, and a model.",
        _DATA,
    ),
    "worker": Entry(
        "embedded.cli_run:worker",
        "Run one worker against DATABASE_URL, REDIS_URL and ARTIFACTS_URL: --queues bulk,interactive.",
        _HERE,
        _PASS_ON,
    ),
    "migrate": Entry("embedded.cli_run:migrate", "Bring the database at DATABASE_URL to the newest schema.", _HERE),
    "keys": Entry(
        "embedded.cli_run:keys",
        "Make, list and end API keys: create --name N | list | rotate PREFIX | revoke PREFIX | audit | reencrypt.",
        _HERE,
        _PASS_ON,
    ),
    "backup": Entry(
        "embedded.cli_data:backup_command",
        "Write everything that lasts to one file, while the service runs or not.",
        _HERE,
    ),
    "restore": Entry(
        "embedded.cli_data:restore_command",
        "Put a backup into an empty data folder, or an empty database. It must not be running.",
        _HERE,
    ),
    "gc": Entry(
        "embedded.cli_data:gc_command",
        "Remove artifacts that nothing refers to and that are older than a day, while the service runs or not.",
        _HERE,
    ),
}


def main() -> None:
    """Entry point."""
    app(prog_name="lookahead")


if __name__ == "__main__":
    main()
