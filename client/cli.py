"""The `lookahead` command line: what the HTTP interface does, from a shell."""

import typer

app = typer.Typer()
