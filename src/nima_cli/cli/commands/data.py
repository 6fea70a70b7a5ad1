"""`nima data`: prepare and inspect datasets."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli.commands.data_flags import fields, in_field_flags, named_sources, ray_cluster
from nima_cli.cli.event_handlers import dispatch, print_json
from nima_cli.cli.flag_names import Command, notes_in_flags
from nima_cli.cli.initial import tokenizer_path
from nima_cli.cli.options import (
    Debug,
    Json,
    Quiet,
    Verbose,
    examples,
    model_option,
    option,
    path_of,
    path_option,
    switch,
)
from nima_cli.errors import DataError, InputError
from nima_cli.ui.console import command, out, safe_text, say
from nima_cli.ui.formatting import many

if TYPE_CHECKING:
    from nima_cli.config.data_schema import DataConfig
    from nima_cli.events import Event

app = typer.Typer(
    help="Prepare documents for training, and look at what was prepared.",
    no_args_is_help=True,
    suggest_commands=False,
    rich_markup_mode=None,
)


def _setting(key: str, metavar: str, *flags: str) -> Any:
    """An option for one key of `data`, by default of the same name; `Command` fills in its help."""
    return option(None, metavar, f"data.{key}", *flags)


def _files(what: str) -> Any:
    return option(None, "PATH...", f"{what}; many may follow, as a shell expands them.")


_PREPARE_EXAMPLES = examples(
    "nima data prepare --output-dir data/docs --text-files docs",
    "nima data prepare --output-dir data/k8s --text-files docs/k8s/*.md --json-files qa.json --format qa",
    "nima data prepare --output-dir data/faq --jsonl-files faq.jsonl --field question=Q --field answer=A",
    "nima data prepare --output-dir data/mix --source docs,weight=2.0 --source builtin:python-docs",
    "nima data prepare --output-dir data/site --text-files . --exclude drafts/ '*.generated.md'",
    "nima data prepare --output-dir data/docs-smollm2 --text-files docs --tokenizer-from smollm2-135m",
    "nima data prepare -c configs/technical.yaml --overwrite",
    note="docs and docs/k8s are folders of yours, qa.json a list of questions and answers; builtin:python-docs is what "
    "came with your Python, smollm2-135m a model of `nima models list`.",
)


@app.command(cls=Command, epilog=_PREPARE_EXAMPLES)
def prepare(
    context: typer.Context,
    output_dir: Path | None = path_option(None, "DIR", "Where the dataset goes. By default `data.dir` of the config."),
    text_files: list[str] | None = _files("Documents (Markdown, HTML, notebooks, text, PDF …), folders, globs"),
    json_files: list[str] | None = _files("JSON files holding a list of records"),
    jsonl_files: list[str] | None = _files("JSON Lines files, one record a line"),
    record_format: str = option("auto", "qa|chat|doc|auto", "Shape of JSON and JSONL records.", "--format"),
    field: list[str] | None = option(
        None,
        "KEY=NAME",
        "The name that a key of records has in the files: `question=Question`, or `answer=data.reply` for `reply` in "
        "`data`; may be repeated.",
    ),
    source: list[str] | None = option(
        None,
        "SOURCE",
        "One source with its own settings, as `faq.jsonl,format=qa,weight=2.0`; there are format, container, weight "
        "and name. May be repeated.",
    ),
    config: Path | None = path_option(None, "FILE", "A YAML file with these settings under `data`.", "--config", "-c"),
    exclude: list[str] | None = option(
        None,
        "PATTERN...",
        "What to leave out of folders, as in `.gitignore`; `!PATTERN` takes back what is left out by default. "
        "Many may follow.",
    ),
    default_excludes: str | None = _setting("default_excludes", "true|false"),
    respect_gitignore: str | None = _setting("respect_gitignore", "true|false"),
    tokenizer: str | None = _setting("tokenizer", "bpe|unigram|char"),
    vocab_size: str | None = _setting("vocab_size", "N"),
    tokenizer_from: str | None = model_option("data.tokenizer_from"),
    max_length: str | None = _setting("max_length", "N"),
    min_length: str | None = _setting("min_length", "N"),
    train_ratio: str | None = _setting("train_ratio", "X"),
    val_ratio: str | None = _setting("val_ratio", "X"),
    seed: str | None = _setting("seed", "N"),
    dedupe: str | None = _setting("dedupe", "near|exact|off", "--dedup"),
    loss: str | None = _setting("loss", "all|assistant"),
    on_error: str | None = _setting("on_error", "stop|skip"),
    encoding: str | None = _setting("encoding", "NAME"),
    normalize: str | None = _setting("normalize", "none|nfc"),
    strip_markup: str | None = _setting("strip_markup", "true|false"),
    keep_links: str | None = _setting("keep_links", "true|false"),
    heading_context: str | None = _setting("heading_context", "true|false"),
    include_code: bool | None = typer.Option(None, "--include-code", help="data.include_code"),
    max_characters: str | None = _setting("max_characters", "N"),
    max_repetition: str | None = _setting("max_repetition", "X"),
    max_non_text: str | None = _setting("max_non_text", "X"),
    max_boilerplate: str | None = _setting("max_boilerplate", "X"),
    report: Path | None = path_option(None, "FILE.jsonl", "Write a JSON line for all that is left out."),
    workers: int | None = option(None, "N", "Processes. By default one a core.", min=1),
    engine: str = option(
        "local",
        "local|ray",
        "What runs the processes: this program, or Ray (`pip install 'nima[ray]'`). The dataset is the same.",
    ),
    ray_address: str | None = option(
        None,
        "HOST:PORT",
        "A running Ray cluster to use, with all its processors. By default one is started on this machine.",
    ),
    overwrite: bool = switch("--overwrite", "Replace the dataset that is there."),
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Turn documents into a dataset and its tokenizer."""
    sources = named_sources(text_files or [], json_files or [], jsonl_files or [], record_format, source or [])
    from nima_cli.config.data_schema import DataConfig

    given = {key: value for key, value in context.params.items() if key in DataConfig.model_fields}
    given |= {"sources": sources or None, "exclude": exclude or None, "fields": fields(field or [])}
    model = None
    if tokenizer_from is not None:
        given["tokenizer_from"] = tokenizer_path(tokenizer_from, quiet=quiet)
        model = tokenizer_from if Path(tokenizer_from) != Path(given["tokenizer_from"]) else None
    data = _data_config(config, given, verbose=verbose)
    folder = output_dir or (Path(data.dir) if data.dir else None)
    if folder is None:
        raise InputError("no place for the dataset", hint="give `--output-dir`")
    cluster = ray_cluster(engine, ray_address, workers)
    from nima_cli.engine.cores import cpu_count
    from nima_cli.engine.data.prepare import prepare as run

    events = run(data, folder, overwrite=overwrite, workers=workers or cpu_count(), cluster=cluster)
    try:
        _show(notes_in_flags(events, context), folder, report, model, quiet=quiet, as_json=json)
    except DataError as error:
        error.hint = error.hint and in_field_flags(error.hint)
        raise


def _data_config(path: Path | None, given: dict[str, Any], *, verbose: bool) -> "DataConfig":
    """The settings of `data`: those of the file with the `given` ones over them."""
    from nima_cli.config.load import load_config

    resolved = load_config(path, overrides={f"data.{key}": value for key, value in given.items()})
    if verbose:
        for key in (key for key in resolved.origins if key.startswith("data.")):
            say(f"{key}: from {resolved.origins[key]}")
    if not resolved.config.data.sources:
        raise InputError(
            "nothing to prepare from",
            hint="name documents with `--text-files`, `--json-files` or `--jsonl-files`, "
            "or take the embedded ones with `--source builtin:python-docs`",
        )
    return resolved.config.data


def _show(
    events: Iterator["Event"], folder: Path, report: Path | None, model: str | None, *, quiet: bool, as_json: bool
) -> None:
    """Prepare the dataset, with the events on the terminal and in the report, and say what it holds."""
    from nima_cli.events import DatasetReady
    from nima_cli.loggers.jsonl import DropsLogger
    from nima_cli.ui.progress_view import prepare_view

    drops = DropsLogger(report) if report is not None else None
    ready = dispatch(events, [prepare_view(quiet=quiet), *([drops] if drops else [])])
    if drops is not None and not drops.written and not quiet:
        say("nothing was read, so there is no report; pass `--overwrite` to prepare again", "warning")
    assert isinstance(ready, DatasetReady), "preparing ends with it, or raises"
    if as_json:
        print_json({**asdict(ready), "path": str(ready.path)})
    elif not quiet:
        out().print(
            f"{safe_text(str(folder))}: {many(ready.documents, 'document')}, {many(ready.samples, 'sample')}, "
            f"{many(ready.tokens, 'token')}, vocabulary of {ready.vocab_size:,}",
            soft_wrap=True,
        )
        start = ["--init-from", model] if model is not None else []
        look, train = command("nima", "data", "inspect", folder), command("nima", "train", "--data", folder, *start)
        say(f"look at it with {look}, train with {train}", "hint")


@app.command(
    cls=Command, epilog=examples("nima data inspect data/k8s --samples 5", "nima data inspect data/k8s --json")
)
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=path_of, hidden=True)],
    samples: int = option(3, "N", "Samples of the train split to show.", min=0),
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Show what a prepared dataset holds, and some samples.

    DIR is the dataset. Samples are shown as the model sees them. It fails if a file was altered.
    """
    from nima_cli.engine.data.store.dataset_files import read_dataset
    from nima_cli.engine.data.store.inspection import length_histogram, source_mix, view_samples
    from nima_cli.ui.dataset_view import dataset_view, sample_view

    files = read_dataset(folder)
    result = {
        **files.metadata,
        "mix": source_mix(files),
        "lengths": length_histogram(files),
        "shown": list(view_samples(files, samples)),
    }
    if json:
        print_json(result)
    elif not quiet:
        out().print(dataset_view(result, verbose=verbose))
        for sample in result["shown"]:
            out().print(sample_view(sample), soft_wrap=True)
