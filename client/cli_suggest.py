"""Commands that ask: what to label next, what is predicted, which strategies there are."""

from typing import Annotated

import typer

from client.cli_common import (
    AsJson,
    Key,
    ProjectName,
    Url,
    Where,
    common,
    id_column,
    listed,
    out,
    parsed_json,
    parsed_options,
    parsed_where,
    run,
    show,
    table,
)


def suggest(
    project: ProjectName,
    count: Annotated[int, typer.Option("-n", "--count", help="How many items.")] = 1,
    strategy: Annotated[str | None, typer.Option(help="Default: the project's; see `lookahead strategies`.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="An option such as why=3 or batch=top_k.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Hold the items for this annotator.")] = None,
    lease_seconds: Annotated[int | None, typer.Option(help="How long; default: the project's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes random choices repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An item not to suggest this time.")] = None,
    where: Where = None,
    per_class: Annotated[
        str | None, typer.Option(help="At most so many per predicted class: a number, or numbers by class as JSON.")
    ] = None,
    random_share: Annotated[float | None, typer.Option(help="Share that is drawn at random instead.")] = None,
    min_distance: Annotated[float | None, typer.Option(help="Pass over near duplicates.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say what to label next, and why."""
    answer = run(
        url,
        key,
        lambda c: c.suggest(
            project,
            count,
            strategy=strategy,
            options=parsed_options(option) or None,
            annotator=annotator,
            lease_seconds=lease_seconds,
            seed=seed,
            exclude=exclude or None,
            where=parsed_where(where),
            per_class=None if per_class is None else parsed_json(per_class, "--per-class"),
            random_share=random_share,
            min_distance=min_distance,
        ),
    )
    if as_json or common().as_json:
        show(answer, True, "")
        return
    if answer.suggestions:
        rows = []
        for found in answer.suggestions:
            sure = "" if found.confidence is None else f"{found.confidence:.0%}"
            why = ", ".join(change.item for change in found.why)
            rows.append((found.item, f"{found.score:.4g}", found.predicted, sure, why))
        table((id_column("item"), "score", "predicted", "confidence", "would change most"), rows)
    else:
        out.print("Nothing to suggest.")
    for line in (answer.reason, *answer.notes):
        if line:
            out.print(line)


def strategies(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the strategies."""
    found = run(url, key, lambda c: c.strategies())
    listed(found, as_json, (id_column("strategy"), "title", "needs"), lambda s: (s.name, s.title, ", ".join(s.needs)))
