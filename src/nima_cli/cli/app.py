"""The `nima` program: its commands, its global options, and the one door through which errors leave."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from nima_cli import __version__
from nima_cli.cli import chat, data, evaluate, generate, plot, train
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
app.command(epilog=train.EXAMPLES)(train.train)
app.command("eval", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=generate.EXAMPLES)(generate.generate)
app.command(epilog=chat.EXAMPLES)(chat.chat)
app.command(epilog=plot.EXAMPLES)(plot.plot)


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


@contextmanager
def guarded_by_the_door(*, debug: bool) -> Iterator[None]:
    """Let no traceback of an expected failure out: one line, a hint, the failure's exit code."""
    try:
        yield
    except NimaError as error:
        from nima_cli.ui.console import say_error

        if debug:
            traceback.print_exc()
        say_error(error.message, hint=error.hint)
        raise SystemExit(error.exit_code) from None
    except MemoryError:
        from nima_cli.ui.console import say_error

        say_error("not enough memory", hint="use a smaller `training.batch_size` or model")
        raise SystemExit(4) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output went away (`| head`): not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def main() -> None:
    """Run the program."""
    argv = spread(sys.argv[1:])
    with guarded_by_the_door(debug="--debug" in argv):
        app(args=argv, prog_name="nima")
