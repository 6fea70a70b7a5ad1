"""`nima data`: prepare and inspect datasets."""

import typer

app = typer.Typer(help="Prepare documents for training, and look at what was prepared.", no_args_is_help=True)


@app.command()
def prepare() -> None:
    """Turn documents into a dataset and its tokenizer."""


@app.command()
def inspect() -> None:
    """Show what a prepared dataset holds."""
