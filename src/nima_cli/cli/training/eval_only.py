"""`nima train --eval-only`: measures a run on the test split instead of training."""

from nima_cli.cli import rundir
from nima_cli.cli.training.start import TrainOptions, find_resume
from nima_cli.errors import InputError


def evaluate_run(options: TrainOptions) -> None:
    """Evaluate the checkpoint of `--resume`, else the run of that name, and print the result on stdout.

    Raises:
        NimaError: there is nothing to evaluate, or it cannot be used.
    """
    from nima_cli.cli.commands.evaluate import evaluate_checkpoint

    path, _ = find_resume(options)
    chosen = path or options.output_dir or rundir.find_run_dir(None, options.name)
    if chosen is None:
        raise InputError("--eval-only: there is no run to evaluate", hint="name its checkpoint with --resume PATH")
    evaluate_checkpoint(
        chosen,
        data=options.data,
        split="test",
        json=options.json,
        device=options.device or "auto",
        dtype="auto",
        quiet=options.quiet,
    )
