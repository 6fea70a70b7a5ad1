"""`nima data`: prepare and inspect datasets."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nima_cli.cli.cluster import cluster
from nima_cli.cli.commands.record_flags import FieldFlags, check_format, fields, naming_field_flags
from nima_cli.cli.flag_names import Command
from nima_cli.cli.options import Debug, Json, Quiet, Verbose, examples, path_of
from nima_cli.config.data_help import DATA_HELP
from nima_cli.errors import InputError

if TYPE_CHECKING:
    from nima_cli.events import Event

app = typer.Typer(
    help="Prepare documents for training, and look at what was prepared.",
    no_args_is_help=True,
    suggest_commands=False,
    rich_markup_mode=None,
)


def _setting(key: str, *flags: str, metavar: str) -> Any:
    """An option for one key of `data`; its help and default are those of the schema."""
    return typer.Option(*flags, help=DATA_HELP[key], metavar=metavar, show_default=False)


def _files(flag: str, what: str) -> Any:
    return typer.Option(
        flag, help=f"{what}; many may follow, as a shell expands them.", metavar="PATH...", show_default=False
    )


SourceFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="One source with its own settings, as `faq.jsonl,format=qa,weight=2.0`; there are format, container, "
        "weight and name. May be repeated.",
        metavar="SOURCE",
        show_default=False,
    ),
]

_PREPARE_EXAMPLES = examples(
    "nima data prepare --output-dir data/docs --text-files docs",
    "nima data prepare --output-dir data/k8s --text-files docs/k8s/*.md --json-files qa.json --format qa",
    "nima data prepare --output-dir data/faq --jsonl-files faq.jsonl --field question=Q --field answer=A",
    "nima data prepare --output-dir data/mix --source docs,weight=2.0 --source builtin:python-docs",
    "nima data prepare --output-dir data/site --text-files . --exclude drafts/ '*.generated.md'",
    "nima data prepare -c configs/technical.yaml --overwrite",
    note="docs and docs/k8s are folders of yours, qa.json a list of questions and answers; builtin:python-docs is what "
    "came with your Python.",
)


@app.command(cls=Command, epilog=_PREPARE_EXAMPLES)
def prepare(
    context: typer.Context,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            help="Where the dataset goes. By default `data.dir` of the config.",
            metavar="DIR",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    text_files: Annotated[
        list[str] | None,
        _files("--text-files", "Documents (Markdown, HTML, notebooks, text, PDF …), folders, globs"),
    ] = None,
    json_files: Annotated[list[str] | None, _files("--json-files", "JSON files holding a list of records")] = None,
    jsonl_files: Annotated[list[str] | None, _files("--jsonl-files", "JSON Lines files, one record a line")] = None,
    record_format: Annotated[
        str, typer.Option("--format", help="Shape of JSON and JSONL records.", metavar="qa|chat|doc|auto")
    ] = "auto",
    field: FieldFlags = None,
    source: SourceFlags = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="A YAML file with these settings under `data`.",
            metavar="FILE",
            parser=path_of,
            show_default=False,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            help="What to leave out of folders, as in `.gitignore`; `!PATTERN` takes back what is left out by default. "
            "Many may follow.",
            metavar="PATTERN...",
            show_default=False,
        ),
    ] = None,
    default_excludes: Annotated[
        str | None, _setting("default_excludes", "--default-excludes", metavar="true|false")
    ] = None,
    respect_gitignore: Annotated[
        str | None, _setting("respect_gitignore", "--respect-gitignore", metavar="true|false")
    ] = None,
    tokenizer: Annotated[str | None, _setting("tokenizer", "--tokenizer", metavar="bpe|unigram|char")] = None,
    vocab_size: Annotated[str | None, _setting("vocab_size", "--vocab-size", metavar="N")] = None,
    tokenizer_from: Annotated[str | None, _setting("tokenizer_from", "--tokenizer-from", metavar="PATH")] = None,
    max_length: Annotated[str | None, _setting("max_length", "--max-length", metavar="N")] = None,
    min_length: Annotated[str | None, _setting("min_length", "--min-length", metavar="N")] = None,
    train_ratio: Annotated[str | None, _setting("train_ratio", "--train-ratio", metavar="X")] = None,
    val_ratio: Annotated[str | None, _setting("val_ratio", "--val-ratio", metavar="X")] = None,
    seed: Annotated[str | None, _setting("seed", "--seed", metavar="N")] = None,
    dedupe: Annotated[str | None, _setting("dedupe", "--dedup", metavar="near|exact|off")] = None,
    loss: Annotated[str | None, _setting("loss", "--loss", metavar="all|assistant")] = None,
    on_error: Annotated[str | None, _setting("on_error", "--on-error", metavar="stop|skip")] = None,
    encoding: Annotated[str | None, _setting("encoding", "--encoding", metavar="NAME")] = None,
    normalize: Annotated[str | None, _setting("normalize", "--normalize", metavar="none|nfc")] = None,
    strip_markup: Annotated[str | None, _setting("strip_markup", "--strip-markup", metavar="true|false")] = None,
    keep_links: Annotated[str | None, _setting("keep_links", "--keep-links", metavar="true|false")] = None,
    heading_context: Annotated[
        str | None, _setting("heading_context", "--heading-context", metavar="true|false")
    ] = None,
    include_code: Annotated[
        bool | None, typer.Option("--include-code", help=DATA_HELP["include_code"], show_default=False)
    ] = None,
    max_characters: Annotated[str | None, _setting("max_characters", "--max-characters", metavar="N")] = None,
    max_repetition: Annotated[str | None, _setting("max_repetition", "--max-repetition", metavar="X")] = None,
    max_non_text: Annotated[str | None, _setting("max_non_text", "--max-non-text", metavar="X")] = None,
    max_boilerplate: Annotated[str | None, _setting("max_boilerplate", "--max-boilerplate", metavar="X")] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Write a JSON line for all that is left out.", metavar="FILE.jsonl", parser=path_of
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes. By default one a core.", metavar="N", show_default=False),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="What runs the processes: this program, or Ray (`pip install 'nima[ray]'`). The dataset is the same.",
            metavar="local|ray",
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            help="A running Ray cluster to use, with all its processors. By default one is started on this machine.",
            metavar="HOST:PORT",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset that is there.")] = False,
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Turn documents into a dataset and its tokenizer."""
    from nima_cli.config.data_schema import BUILTIN_SOURCE
    from nima_cli.config.load import load_config

    check_format(record_format, [*(json_files or []), *(jsonl_files or [])])
    overrides = {f"data.{key}": value for key, value in context.params.items() if key in DATA_HELP}
    if tokenizer_from is not None:
        from nima_cli.cli.initial import tokenizer_path

        overrides["data.tokenizer_from"] = tokenizer_path(Path(tokenizer_from))
    overrides["data.fields"] = fields(field or [])
    overrides["data.sources"] = (
        _named_sources(text_files or [], json_files or [], jsonl_files or [], record_format, source or []) or None
    )
    overrides["data.exclude"] = exclude or None
    resolved = load_config(config, overrides=overrides)
    data = resolved.config.data
    if verbose:
        _say_origins(resolved.sources)
    if not data.sources:
        raise InputError(
            "nothing to prepare from",
            hint="name documents with `--text-files`, `--json-files` or `--jsonl-files`, "
            f"or take the embedded ones with `--source {BUILTIN_SOURCE}`",
        )
    folder = output_dir or (Path(data.dir) if data.dir else None)
    if folder is None:
        raise InputError("no place for the dataset", hint="give `--output-dir`")
    on = cluster(engine, ray_address, workers)
    from nima_cli.engine.cores import cpu_count
    from nima_cli.engine.data.prepare import prepare as run

    events = run(data, folder, overwrite=overwrite, workers=workers or cpu_count(), cluster=on)
    with naming_field_flags():
        _prepare(events, folder, report, quiet=quiet, as_json=json)


def _prepare(events: Iterator["Event"], folder: Path, report: Path | None, *, quiet: bool, as_json: bool) -> None:
    from nima_cli.cli.event_handlers import follow, print_json
    from nima_cli.events import DatasetReady
    from nima_cli.loggers.jsonl import DropsLogger
    from nima_cli.ui.console import command, out, safe_text, say
    from nima_cli.ui.formatting import many
    from nima_cli.ui.progress_view import prepare_view

    drops = DropsLogger(report) if report is not None else None
    views = [prepare_view(quiet=quiet), *([drops] if drops else [])]
    ready = follow(events, views)
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
        look, train = command("nima", "data", "inspect", folder), command("nima", "train", "--data", folder)
        say(f"look at it with {look}, train with {train}", "hint")


def _say_origins(origins: dict[str, str]) -> None:
    from nima_cli.ui.console import say

    for key, origin in origins.items():
        if key.startswith("data."):
            say(f"{key}: from {origin}")


def _named_sources(
    text_files: Sequence[str],
    json_files: Sequence[str],
    jsonl_files: Sequence[str],
    record_format: str,
    sources: Sequence[str],
) -> list[dict[str, Any]]:
    """The sources that the command line names, as values of `data.sources`."""
    plain = [path for path in text_files if Path(path).is_file()]
    # What a shell made out of `docs/*.md` is one source, named after the folder.
    shared = _common_folder(plain) if len(plain) > 1 else None
    named: list[dict[str, Any]] = [
        {"path": path, "container": "text", **({"name": shared} if shared and path in plain else {})}
        for path in text_files
    ]
    named += [{"path": path, "container": "json", "format": record_format} for path in json_files]
    named += [{"path": path, "container": "jsonl", "format": record_format} for path in jsonl_files]
    return named + [_parsed_source(text) for text in sources]


def _common_folder(files: Sequence[str]) -> str:
    return Path(os.path.commonpath([Path(file).resolve().parent for file in files])).name or "text-files"


def _parsed_source(text: str) -> dict[str, Any]:
    """`PATH[,format=qa][,container=json][,weight=2.0][,name=k8s]` as a source; a comma in PATH is fine."""
    path, settings = text, dict[str, Any]()
    while "," in path and "=" in path.rpartition(",")[2]:
        path, _, setting = path.rpartition(",")
        key, _, value = setting.partition("=")
        if key not in ("format", "container", "weight", "name"):
            hint = "the settings are `format`, `container`, `weight` and `name`"
            raise InputError(f"--source {text}: no setting `{key}`", hint=hint)
        if key in settings:
            raise InputError(f"--source {text}: `{key}` is given twice")
        settings[key] = value
    return {"path": path, **settings}


@app.command(
    cls=Command, epilog=examples("nima data inspect data/k8s --samples 5", "nima data inspect data/k8s --json")
)
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=path_of, hidden=True)],
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Samples of the train split to show.", metavar="N")
    ] = 3,
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Show what a prepared dataset holds, and some samples.

    DIR is the dataset. Samples are shown as the model sees them. It fails if a file was altered.
    """
    from nima_cli.cli.event_handlers import print_json
    from nima_cli.engine.data.store.dataset_files import read_dataset
    from nima_cli.engine.data.store.inspection import length_histogram, source_mix, view_samples
    from nima_cli.ui.console import out
    from nima_cli.ui.dataset_view import dataset_view, sample_view

    files = read_dataset(folder)
    result = {
        **files.metadata,
        "mix": [asdict(one) for one in source_mix(files)],
        "lengths": [
            {"from": least, "to": greatest, "samples": count} for least, greatest, count in length_histogram(files)
        ],
        "shown": [asdict(sample) for sample in view_samples(files, samples)],
    }
    if json:
        print_json(result)
    elif not quiet:
        out().print(dataset_view(result, verbose=verbose))
        for sample in result["shown"]:
            out().print(sample_view(sample), soft_wrap=True)
