"""The `nima` program: its commands, global options and command line."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.core import TyperGroup

from nima_cli import __version__
from nima_cli.cli.commands import chat, data, evaluate, export, generate, models, plot, train
from nima_cli.cli.error_handler import error_handler
from nima_cli.cli.flag_names import Command

# Options that take many values.
_VARIADIC = frozenset({"--text-files", "--json-files", "--jsonl-files", "--exclude", "--prompt", "--metric"})
# In the order of the work.
_COMMANDS = ("data", "models", "train", "eval", "chat", "generate", "plot", "export")


class _InOrder(TyperGroup):
    """Typer would list groups after all commands."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(super().list_commands(ctx), key=_COMMANDS.index)


app = typer.Typer(
    name="nima",
    cls=_InOrder,
    no_args_is_help=True,
    suggest_commands=False,  # `cli.suggestions` does that, over all levels
    rich_markup_mode=None,  # plain help: Rich would double the time to it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.command(cls=Command, epilog=train.EXAMPLES)(train.train)
app.command("eval", cls=Command, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(cls=Command, epilog=chat.EXAMPLES)(chat.chat)
app.command(cls=Command, epilog=generate.EXAMPLES)(generate.generate)
app.command(cls=Command, epilog=plot.EXAMPLES)(plot.plot)
app.command(cls=Command, epilog=export.EXAMPLES)(export.export)


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


def expand_variadic_options(argv: Sequence[str]) -> list[str]:
    """Repeat a many-valued flag before each further value: `--f a b` becomes `--f a --f b`, as Typer takes it.

    A value that starts with a dash must be written `--f=-x`; a lone `-` is a value. Nothing after `--` is touched.
    """
    result: list[str] = []
    flag: str | None = None
    for index, word in enumerate(argv):
        if word == "--":
            return [*result, *argv[index:]]
        if word.startswith("-") and word != "-":
            name = word.split("=", 1)[0]
            flag = name if name in _VARIADIC else None
        elif flag is not None and result[-1] != flag:
            result.append(flag)
        result.append(word)
    return result


def main() -> None:
    """Run the program."""
    # Threads that spin for long take the cores from whoever they wait for: beside other work a training step was
    # several times slower. torch reads this when it is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    argv = expand_variadic_options(sys.argv[1:])
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    with error_handler(debug="--debug" in argv):
        # Not standalone: Typer would print its own kind of error and leave by its own exits.
        code = app(args=argv, prog_name="nima", standalone_mode=False)
        if isinstance(code, int) and code:
            raise SystemExit(code)
