"""What becomes of every error: one line, a hint, an exit code."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from typer.exceptions import TyperException

from nima_cli.errors import InputError, NimaError, ResourceError
from nima_cli.files import explain

_DEBUG = "--debug shows where"


@contextmanager
def error_handler(*, debug: bool) -> Iterator[None]:
    """Let no traceback of an expected failure out: one line, a hint, the failure's exit code."""
    try:
        yield
        if sys.stdout is not None:  # None where the descriptor was closed when Python started
            sys.stdout.flush()  # here, where a reader that went away is handled, and not while Python shuts down
    except NimaError as error:
        _refuse(error.message, error.hint, debug=debug)
        _settle_output()
        raise SystemExit(error.exit_code) from None
    except TyperException as error:
        _refuse_usage(error)
        raise SystemExit(InputError.exit_code) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output went away (`| head`): not an error of ours
        _drop_output()
        raise SystemExit(0) from None
    except SystemExit as ended:  # Typer and Rich notice it too, and leave with 1
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        _drop_output()
        raise SystemExit(0) from None
    except OSError as error:  # nobody expected it here, and yet it is the machine that says no
        _refuse(_refusal_of_the_machine(error, stdout_fails=not _settle_output()), _DEBUG, debug=debug)
        raise SystemExit(ResourceError.exit_code) from None
    except MemoryError:
        _refuse("not enough memory", "use a smaller `training.batch_size` or model", debug=debug)
        raise SystemExit(ResourceError.exit_code) from None
    except Exception as error:
        _refuse(f"a bug in nima: {type(error).__name__}: {error}", _keep_traceback(), debug=debug)
        raise SystemExit(1) from None


def _settle_output() -> bool:
    """Write what is still buffered for stdout; False, and it goes nowhere, where stdout does not take it."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
        return False
    return True


def _refusal_of_the_machine(error: OSError, *, stdout_fails: bool) -> str:
    if error.filename is not None:
        return explain(error, Path(os.fsdecode(error.filename)), "use it").message
    if stdout_fails:
        return explain(error, Path("stdout"), "write").message
    return f"the system refused: {(error.strerror or str(error)).lower()}"


def _drop_output() -> None:
    """Let what is still buffered for stdout go nowhere: nobody reads it, and writing it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(message: str, hint: str | None, *, debug: bool) -> None:
    from nima_cli.ui.console import say_error

    if debug:
        traceback.print_exc()
    say_error(message, hint=hint)


def _refuse_usage(error: TyperException) -> None:
    """A command line that Typer could not read, in the same form as every other error."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        typer.echo(context.get_help(), err=True)
        return
    from nima_cli.cli.suggestions import suggestion

    # Typer's own guess at an option counts dashes as letters: it takes `--lr` for `--help`.
    known = getattr(error, "possibilities", None) is None
    message = (error.format_message() if known else error.message).rstrip(".")
    path = context.command_path if context is not None else "nima"
    _refuse(f"{path}: {message[:1].lower()}{message[1:]}", suggestion(error), debug=False)


def _keep_traceback() -> str:
    """Write the traceback where the user can find it, and say so."""
    from nima_cli.config.environ import home

    try:
        path = home() / "logs" / "last_traceback.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except (OSError, NimaError):
        return "run it again with --debug and report what it shows"
    return f"please report it with the traceback in {path}"
