"""Turns every error into one line, a hint and an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from nima_cli.cli.home import home
from nima_cli.cli.suggestions import suggestion
from nima_cli.errors import InputError, NimaError, ResourceError
from nima_cli.files import explain
from nima_cli.ui.console import say_error


@contextmanager
def error_handler(*, debug: bool) -> Iterator[None]:
    """Show what fails inside as one line and a hint, and exit with its code."""
    try:
        yield
        if sys.stdout is not None:  # None where the descriptor was closed when Python started
            sys.stdout.flush()  # here, where a closed pipe is handled, and not while Python shuts down
    except NimaError as error:
        _exit(error.message, error.hint, error.exit_code, debug=debug)
    except TyperException as error:
        _exit_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    except (BrokenPipeError, SystemExit) as ended:  # Typer and Rich notice a broken pipe too, and leave with 1
        if isinstance(ended, SystemExit) and not isinstance(ended.__context__, BrokenPipeError):
            raise
        _drop_output()  # the reader of our output went away (`| head`), which is no error
        raise SystemExit(0) from None
    except OSError as error:  # not a bug, although nobody expected it here
        message = f"the system refused: {(error.strerror or str(error)).lower()}"
        if error.filename is not None:
            message = explain(error, Path(os.fsdecode(error.filename)), "use it").message
        elif not _settle_output():
            message = explain(error, Path("stdout"), "write").message
        _exit(message, "--debug shows where", ResourceError.exit_code, debug=debug)
    except MemoryError:
        hint = "use a smaller `training.batch_size` or model"
        _exit("not enough memory", hint, ResourceError.exit_code, debug=debug)
    except Exception as error:
        _exit(f"a bug in nima: {type(error).__name__}: {error}", _keep_traceback(), 1, debug=debug)


def _exit(message: str, hint: str | None, code: int, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    say_error(message, hint=hint)
    _settle_output()
    raise SystemExit(code) from None


def _exit_usage(error: TyperException) -> NoReturn:
    """Leave because of a command line that Typer could not read."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), err=True)
        raise SystemExit(InputError.exit_code) from None
    # Typer's own guess at an option counts dashes as letters: it takes `--lr` for `--help`.
    known = getattr(error, "possibilities", None) is None
    message = (error.format_message() if known else error.message).rstrip(".")
    path = context.command_path if context is not None else "nima"
    _exit(f"{path}: {message[:1].lower()}{message[1:]}", suggestion(error), InputError.exit_code, debug=False)


def _settle_output() -> bool:
    """Flush stdout; where that fails, drop what is buffered and return False."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
        return False
    return True


def _drop_output() -> None:
    """Send what is still buffered for stdout nowhere, because writing it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _keep_traceback() -> str:
    """Write the traceback to a file that the returned hint names."""
    try:
        path = home() / "logs" / "last_traceback.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except (OSError, NimaError):
        return "run it again with --debug and report what it shows"
    return f"please report it with the traceback in {path}"
