"""One run of two processes, of which one is killed twenty times at random instants; `make torture` runs it."""

import random
import time
from pathlib import Path

from nima_cli.engine.checkpoint import file as checkpoints
from nima_cli.engine.checkpoint.files import checkpoint_files
from tests.cli.programs import CONFIG, rows, wait_for
from tests.worlds import Worlds, torch_world

KILLS = 20
# A save after every step: every other kill falls into one.
RUN = (
    "--max-steps", "1000", "--set", "training.eval_steps=20", "--set", "training.save_steps=1",
    "--set", "model.dropout=0.1", "--set", "monitoring.tensorboard=false", "--set", "monitoring.plots=false",
    "--set", "evaluation.generation.enabled=false", "--quiet",
)  # fmt: skip


def _losses(run_dir: Path) -> list[tuple[object, object, str]]:
    found = rows(run_dir, "step") + rows(run_dir, "eval")
    return [(row["event"], row["step"], float(str(row["loss"])).hex()) for row in found]


def test_twenty_deaths_of_one_process(tiny_dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    chosen = random.Random(7)
    with Worlds(tmp_path) as worlds:

        def command(run_dir: Path) -> tuple[str | Path, ...]:
            return ("train", "-c", config, "--data", tiny_dataset, "--output-dir", run_dir, "--resume", "auto", *RUN)

        run_dir, slowest, steps = tmp_path / "killed", 0.0, []
        for number in range(KILLS):
            world = worlds.start(torch_world(2), command(run_dir), cwd=tmp_path)
            if number % 5:  # every fifth may die before training
                wait_for(lambda then=_newest(run_dir): _newest(run_dir) != then)  # type: ignore[misc]
            time.sleep(chosen.random() * 0.5)
            victim, died = chosen.randrange(2), time.monotonic()
            world.kill(victim)
            ended = world.wait()
            slowest = max(slowest, time.monotonic() - died)
            assert [process.code for process in ended] == [-9 if rank == victim else 4 for rank in range(2)], ended
            if checkpoint_files(run_dir):
                steps.append(checkpoints.newest_valid(run_dir)[1].header["step"])
        assert [p.code for p in worlds.start(torch_world(2), command(run_dir), cwd=tmp_path).wait(300)] == [0, 0]
        whole = tmp_path / "whole"
        assert [p.code for p in worlds.start(torch_world(2), command(whole), cwd=tmp_path).wait(300)] == [0, 0]
    assert steps == sorted(steps)
    assert len(set(steps)) > KILLS // 2  # most died while training, not before
    assert _losses(run_dir) == _losses(whole)
    print(f"{KILLS} kills, newest checkpoint after each: {steps}; the others ended within {slowest:.1f} s")


def _newest(run_dir: Path) -> int:
    """Changes with each save of the last checkpoint."""
    path = run_dir / "checkpoint_last.pt"
    return path.stat().st_mtime_ns if path.exists() else 0
