"""Commands that look inside: workers and queues, a project's kernel model, its held-out items."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_common import AsJson, Existing, Key, ProjectName, Url, common, id_column, out, run, show, table

if TYPE_CHECKING:
    from api_schemas.diagnostics import Diagnostics
    from api_schemas.workers import Workers
    from client.sdk import Client

_EIGENVALUES = 8
_BAR = 40


def show_workers(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the workers: what they do, what they keep warm, and how long labels and suggestions take."""
    found = run(url, key, lambda c: c.workers())
    if as_json or common().as_json:
        show(found, True, "")
        return
    if not found.workers:
        out.print("No worker is alive: `lookahead up` starts some, `lookahead worker` one.")
    else:
        table((id_column("worker"), "queues", "does", "keeps warm", "memory", "heard of"), _workers(found))
    latencies = (
        (latency.what.replace("_", " "), latency.count, *map(_seconds, (latency.p50, latency.p90, latency.p99)))
        for latency in found.latencies
    )
    table(("from all processes", "count", "median", "90 %", "99 %"), latencies)


def _workers(found: "Workers") -> list[tuple[object, ...]]:
    return [
        (
            worker.process or worker.name,
            ",".join(worker.queues),
            worker.job or worker.state,
            ", ".join(f"{kept.project} ({kept.labeled} labels, {_bytes(kept.bytes)})" for kept in worker.warm),
            "" if worker.memory_bytes is None else _bytes(worker.memory_bytes),
            f"{worker.heartbeat_seconds:.0f} s ago",
        )
        for worker in found.workers
    ]


def show_queues(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show the queues: how many jobs wait, for how long, and how many workers serve them."""
    found = run(url, key, lambda c: c.workers())
    if as_json or common().as_json:
        show(found.model_copy(update={"workers": [], "latencies": []}), True, "")
        return
    rows = ((q.name, q.waiting, _seconds(q.oldest_seconds) if q.waiting else "", q.workers) for q in found.queues)
    table((id_column("queue"), "waiting", "oldest", "workers"), rows)


def show_events(
    project: Annotated[str | None, typer.Argument(help="Only this project's.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print jobs, projects and workers as they change, one JSON object a line, until Ctrl-C."""

    def told(client: "Client") -> None:
        for event in client.events(project):
            sys.stdout.write(event.model_dump_json() + "\n")
            sys.stdout.flush()

    run(url, key, told)


def show_diagnostics(project: ProjectName, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show a project's kernel model from inside: classes, scores, spectrum, drift."""
    found = run(url, key, lambda c: c.diagnostics(project))
    if as_json or common().as_json:
        show(found, True, "")
        return
    for line in _lines(found):
        out.print(line)
    classes = ((e.name, e.labels, "" if e.predicted is None else e.predicted) for e in found.classes)
    table(("class", "labels", "predicted"), classes)
    if found.scores is not None:
        out.print(f"scores of {found.scores.strategy} at label {found.scores.label_seq}:")
        most = max(found.scores.counts)
        for edge, count in zip(found.scores.edges, found.scores.counts, strict=False):
            out.print(f"  {edge:>10.4g} {'█' * round(_BAR * count / most)} {count}")


def _lines(found: "Diagnostics") -> list[str]:
    lines = [f"label {found.label_seq}, {found.kernel or 'no kernel model yet'}"]
    if found.condition is not None:
        lines.append(f"condition number {found.condition:.3g}, jitter {found.jitter:.3g}")
    if found.spectrum is not None:
        leading = ", ".join(f"{value:.3g}" for value in found.spectrum.eigenvalues[:_EIGENVALUES])
        lines.append(f"eigenvalues of {found.spectrum.items} items: {leading}, ...")
    if found.drift.changed_predictions is not None:
        lines.append(f"{found.drift.changed_predictions:.1%} of predictions changed since the checkpoint")
    if found.held_out is not None:
        accuracy = "not known yet" if found.held_out.accuracy is None else f"{found.held_out.accuracy:.1%}"
        lines.append(f"accuracy on {found.held_out.labels} held-out items: {accuracy}")
    return lines


def import_held_out_labels(
    project: ProjectName, file: Existing, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Say what held-out items truly are, from a .csv or .jsonl file with item and label: all of them, or none."""
    answer = run(url, key, lambda c: c.upload_held_out_labels(project, file))
    show(answer, as_json, f"Took {answer.accepted} labels; {answer.labeled} held-out items have one.")


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
