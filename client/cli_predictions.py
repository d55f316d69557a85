"""The command that prints what is predicted: for some items, or for all of a pool, page by page."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import typer

from client.cli_common import AsJson, Key, ProjectName, Url, common, err, id_column, run, show, table

if TYPE_CHECKING:
    from api_schemas.suggest import Prediction, PredictionsAnswer
    from client.sdk import Client

_PAGE_ITEMS, _PAGE_CHARACTERS = 1000, 16_000  # ids go in the address, whose length is bounded
_COLUMNS_MAX = 10  # classes of which a table shows the outputs


def predictions(
    project: ProjectName,
    items: Annotated[list[str] | None, typer.Argument(help="Ids of items.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All items of the pool.")] = False,
    state: Annotated[
        Literal["unlabeled", "labeled", "skipped", "leased", "held_out"] | None,
        typer.Option(help="All items in this state."),
    ] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: item, predicted, confidence, a class each.")
    ] = False,
    source: Annotated[
        Literal["linearized", "network"], typer.Option(help="The kernel model with every label, or the checkpoint.")
    ] = "linearized",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print what is predicted for items."""
    if [bool(items), every, state is not None].count(True) != 1:
        raise typer.BadParameter("give one of: ids of items, --all, --state STATE")
    as_json = as_json or common().as_json

    def call(client: "Client") -> None:
        names = items or (found.item for found in client.items(project, state))
        answers = (client.predictions(project, page, source) for page in _pages(names))
        if as_json:
            _print_json(answers)
        else:
            _print(answers, client.project(project).classes, as_csv=as_csv)

    run(url, key, call)


def _pages(names: Iterable[str]) -> Iterator[list[str]]:
    page, length = list[str](), 0
    for name in names:
        length += len(quote(name, safe="")) + 7  # a comma and quotation marks, as they are escaped
        if page and (len(page) == _PAGE_ITEMS or length > _PAGE_CHARACTERS):
            yield page
            page, length = [], len(quote(name, safe="")) + 7
        page.append(name)
    if page:
        yield page


def _print_json(answers: "Iterable[PredictionsAnswer]") -> None:
    """One answer with the predictions of all pages."""
    pages = list(answers)
    if not pages:
        sys.stdout.write("{}\n")
        return
    whole = [found for page in pages for found in page.predictions]
    show(pages[-1].model_copy(update={"predictions": whole}), True, "")


def _print(answers: "Iterable[PredictionsAnswer]", classes: list[str], *, as_csv: bool) -> None:
    if as_csv:
        import csv

        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(("item", "predicted", "confidence", *classes))
        for answer in answers:
            rows.writerows(
                (p.item, p.predicted, _confidence(p, answer.source, "{:.4f}"), *p.outputs) for p in answer.predictions
            )
        return
    few = len(classes) <= _COLUMNS_MAX
    heads: list[Any] = [id_column("item"), "predicted", "confidence", *(classes if few else ())]
    made = [
        (p.item, p.predicted, _confidence(p, answer.source, "{:.0%}"), *_cells(p.outputs if few else ()))
        for answer in answers
        for p in answer.predictions
    ]
    table(heads, made)
    if not few:
        err.print(f"--csv has the outputs for all {len(classes)} classes.")


def _cells(outputs: Iterable[float]) -> list[str]:
    return [f"{value:.3g}" for value in outputs]


def _confidence(found: "Prediction", source: str, form: str) -> str:
    """As suggestions have it; the outputs of a network alone may be no probabilities at all."""
    from studio.predictions import nearest_probability

    return form.format(nearest_probability(found.outputs)) if source == "linearized" else ""
