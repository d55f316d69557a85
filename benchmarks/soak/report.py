"""A run as a table and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.soak.readiness import LABEL, READY, SUGGEST
from benchmarks.soak.record import Record, quantiles
from benchmarks.soak.run import Outcome, Struck

_SHOWN = 5


def recoveries(strikes: list[Struck]) -> dict[str, dict[str, Any]]:
    """Median, 99th percentile and maximum of each request, by what was struck; two at once are one group."""
    groups: dict[str, list[Struck]] = {}
    for strike in strikes:
        groups.setdefault("two at once" if " + " in strike.name else strike.name, []).append(strike)
    groups["all"] = list(strikes)
    return {
        name: {
            request: quantiles([time for one in group if (time := one.recovery.ready[request]) is not None] or [-1.0])
            | {"never": sum(one.recovery.ready[request] is None for one in group)}
            for request in (READY, LABEL, SUGGEST)
        }
        for name, group in sorted(groups.items(), key=lambda entry: (entry[0] == "all", entry[0]))
        if group
    }


def as_json(outcome: Outcome, record: Record, setting: dict[str, Any]) -> dict[str, Any]:
    """Everything there is to say."""
    return {
        "setting": setting,
        "passed": outcome.passed,
        "checks": outcome.checks,
        "recovery": recoveries(outcome.strikes),
        "requests": record.summary(),
        "figures": outcome.figures,
        "strikes": [asdict(strike) for strike in outcome.strikes],
    }


def show(console: Console, report: dict[str, Any]) -> None:
    """Tables for people."""
    if report["strikes"]:
        table = Table("killed", "times", title="seconds until served again: median / 99th percentile / maximum")
        for request in (READY, LABEL, SUGGEST):
            table.add_column(request)
        for name, by_request in report["recovery"].items():
            cells = [_cell(by_request[request]) for request in (READY, LABEL, SUGGEST)]
            table.add_row(name, str(by_request[READY]["count"]), *cells)
        console.print(table)
    waits = Table(
        "request", "times", "median s", "99th percentile s", "max s", title="as clients saw it, retries included"
    )
    for request, times in report["requests"]["seconds"].items():
        waits.add_row(request, *(str(times[key]) for key in ("count", "median", "p99", "max")))
    console.print(waits)
    console.print("answers:", report["requests"]["answers"])
    console.print("jobs:", report["figures"].get("jobs"))
    console.print("model:", report["figures"].get("model"))
    if "grown_mib" in report["figures"]:
        console.print("resident MiB added:", report["figures"]["grown_mib"])
    checks = Table("check", "found")
    for name, wrong in report["checks"].items():
        checks.add_row(name, "ok" if not wrong else f"{len(wrong)} WRONG")
    console.print(checks)
    for name, wrong in report["checks"].items():
        for line in wrong[:_SHOWN]:
            console.print(f"WRONG ({name}): {line}")
        if len(wrong) > _SHOWN:
            console.print(f"... and {len(wrong) - _SHOWN} more: see the JSON")


def _cell(times: dict[str, float]) -> str:
    never = f", {times['never']:.0f} never" if times["never"] else ""
    return f"{times['median']:.2f} / {times['p99']:.2f} / {times['max']:.2f}{never}"
