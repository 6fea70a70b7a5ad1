"""Draws `docs/images/training.svg`, the training display of a real run; knows nothing of how it is drawn or trained.

`python docs/make_screenshot.py` trains a GPT of 2 layers, width 128 and 0.95 M parameters on `builtin:python-docs` for
400 steps of 2,048 tokens, and takes the picture at four fifths of them. The numbers and the text in the picture are
those of that run. `--config FILE` and `--max-steps N` take another run instead.
"""

import argparse
import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from nima_cli.cli.datasets import data_dir, ensure_prepared, with_sources
from nima_cli.cli.home import compiled
from nima_cli.config.load import load_config
from nima_cli.config.schema import Config
from nima_cli.engine.cores import cpu_count
from nima_cli.engine.training.session import Session, open_session, train
from nima_cli.events import Event, StepDone
from nima_cli.ui.train_state import TrainState
from nima_cli.ui.train_view import picture

IMAGE = Path(__file__).resolve().parent / "images" / "training.svg"
WIDTH, HEIGHT = 96, 30
SHARE = 0.8  # of the run, at which the picture is taken
SMALL_RUN = {
    "model": {
        "preset": None, "n_layers": 2, "d_model": 128, "n_heads": 4, "d_ff": 384, "context_length": 128,
    },
    "data": {"dir": "data/python", "sources": [{"path": "builtin:python-docs"}], "vocab_size": 4096},
    "training": {"max_steps": 400, "batch_size": 16, "learning_rate": 0.01, "eval_steps": 50},
    "evaluation": {"generation": {"prompts": ["Return a"], "max_length": 60}},
}  # fmt: skip


def events_of(config: Config) -> Iterator[Event]:
    """What happens when `config` is trained, in the current folder."""
    for _ in ensure_prepared(config.data, workers=cpu_count()):
        pass
    run_dir = Path("experiments") / (config.model.preset or "small")
    return train(open_session(Session(config, data_dir(config.data), run_dir, compiled=compiled())))


def state_at(events: Iterator[Event], share: float) -> TrainState:
    """What the display remembers when that share of the steps is done; the run is given up there."""
    state = TrainState()
    for event in events:
        state.take(event)
        if isinstance(event, StepDone) and event.step >= share * state.total_steps:
            break
    return state


def draw(state: TrainState) -> str:
    """The display as SVG. Its characters come from the reader's own fonts: nothing is loaded from elsewhere."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, height=HEIGHT, force_terminal=True)
    console.print(picture(state, console))
    svg = console.export_svg(title="nima train", unique_id="nima")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Train, draw, write."""
    parser = argparse.ArgumentParser(description="Draw docs/images/training.svg from a real run.")
    parser.add_argument("--config", type=Path, help="take this run instead of the small one")
    parser.add_argument("--max-steps", type=int, help="optimizer steps at most")
    arguments = parser.parse_args()
    if arguments.config is None:
        config = Config.model_validate(SMALL_RUN)
    else:
        config = load_config(arguments.config, overrides={"training.max_steps": arguments.max_steps}).config
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        svg = draw(state_at(events_of(with_sources(config)), SHARE))
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(svg, "utf-8", newline="\n")


if __name__ == "__main__":
    main()
