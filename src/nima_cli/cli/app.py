"""The `nima` program: its commands, its global options, and the one door through which errors leave."""

import os
import sys
import traceback
from typing import Annotated

import typer

from nima_cli import __version__
from nima_cli.cli import data
from nima_cli.cli.argv import spread
from nima_cli.errors import NimaError

app = typer.Typer(
    name="nima",
    help="Turn a folder of technical documents into a small GPT of your own, and talk to it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nima {__version__}")
        raise typer.Exit


@app.callback()
def nima(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn a folder of technical documents into a small GPT of your own, and talk to it."""


def main() -> None:
    """Run the program; every expected failure becomes one line and its exit code."""
    argv = spread(sys.argv[1:])
    try:
        app(args=argv, prog_name="nima")
    except NimaError as error:
        from nima_cli.ui.console import say_error

        if "--debug" in argv:
            traceback.print_exc()
        say_error(error.message, hint=error.hint)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # the reader of our output went away (`| head`): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
