"""`nima train`: turns the command line into one of four programs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from nima_cli.cli import rundir, stop
from nima_cli.cli.options import Debug, Json, Quiet, Verbose, examples, model_option, option, path_option, switch
from nima_cli.cli.references import WAYS
from nima_cli.cli.training import processes, programs
from nima_cli.cli.training.start import Start, TrainOptions, start_training

EXAMPLES = examples(
    "nima train --data data/docs",
    "nima train --data data/docs --preset gpt-small --output-dir experiments/small --set model.dropout=0.1",
    "nima train --data data/docs-smollm2 --init-from smollm2-135m",
    "nima train -c configs/technical.yaml --max-steps 300",
    "nima train --resume auto",
    "nima train --epochs 1",
    note="data/docs is a folder that `nima data prepare` made, data/docs-smollm2 one made with --tokenizer-from "
    "smollm2-135m; configs/technical.yaml comes with nima's source. The "
    "last one needs no file: it learns the embedded documentation of Python.",
)


def train(
    config: Path | None = path_option(None, "FILE", "A YAML file, such as configs/technical.yaml.", "--config", "-c"),
    preset: str | None = option(None, "NAME", "gpt-tiny, gpt-small or gpt-medium."),
    data: Path | None = path_option(
        None, "DIR", "A prepared dataset. Without any data: the embedded documentation of Python."
    ),
    output_dir: Path | None = path_option(None, "DIR", "The run directory.", show_default="experiments/<name>"),
    epochs: float | None = option(None, "X", "Passes over the data; by default as many as the text is worth."),
    max_steps: int | None = option(None, "N", "Optimizer steps at most."),
    batch_size: int | None = option(None, "N", "Rows in one forward pass."),
    learning_rate: float | None = option(None, "X", "Peak learning rate."),
    resume: str | None = option(None, "auto|PATH", "`auto`, a checkpoint or a run directory to go on with."),
    init_from: str | None = model_option(f"Start from this model's weights, shape and tokenizer: {WAYS}."),
    allow_data_change: bool = switch("--allow-data-change", "Resume although the dataset is another one."),
    eval_only: bool = switch("--eval-only", "Do not train: evaluate the run on the test split."),
    device: str | None = option(None, "NAME", "auto, cpu, cuda or mps."),
    seed: int | None = option(None, "N", "Weights, data order, dropout."),
    set_: list[str] | None = option(
        None, "SETTING", "Any setting of docs/config.md, as training.epochs=3; may be repeated.", "--set"
    ),
    dry_run: bool = switch("--dry-run", "Show the plan and exit."),
    verify_resume: bool = switch(
        "--verify-resume", "Prove here, in a few steps, that a stopped and resumed run is the same run; exit."
    ),
    debug: Debug = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Train a GPT from random weights, or go on from a trained one.

    Ctrl-C saves and stops; `--resume auto` goes on.
    """
    stop.install_save()  # a save that is asked for before training begins is done at its first step
    options = TrainOptions(
        config=config, preset=preset, data=data, device=device, output_dir=output_dir, set_=set_ or [], resume=resume,
        init_from=init_from, allow_data_change=allow_data_change, quiet=quiet, verbose=verbose, json=json,
        overrides={
            "data.dir": str(data) if data is not None else None,
            "data.sources": [] if data is not None else None,
            "training.epochs": epochs,
            "training.max_steps": max_steps,
            "training.batch_size": batch_size,
            "training.learning_rate": learning_rate,
            "training.seed": seed,
            "hardware.device": device,
        },
    )  # fmt: skip
    program: Callable[[TrainOptions], Start | None] = start_training
    if eval_only:
        program = programs.evaluate_run
    elif dry_run:
        program = programs.show_plan
    elif verify_resume:
        program = programs.show_verdict
    try:
        code = processes.run(partial(program, options), quiet=quiet, json=json)
    finally:
        rundir.give_back()
    raise typer.Exit(code)
