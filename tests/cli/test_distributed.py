"""Several processes learn what one does, end together, and leave one process's files."""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nima_cli.engine.checkpoint import file as checkpoints
from tests.cli.programs import CONFIG, contents, rows, wait_for
from tests.worlds import Ended, World, Worlds, slurm_world, taken_port, torch_world

# No pictures: they are the first process's own business, and slow.
QUIET = (
    "--set", "monitoring.tensorboard=false", "--set", "monitoring.plots=false",
    "--set", "evaluation.generation.enabled=false",
)  # fmt: skip
DROPOUT = ("--set", "model.dropout=0.1")

Train = Callable[..., World]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with Worlds(tmp_path_factory.mktemp("worlds")) as opened:
        yield opened


@pytest.fixture(scope="module", autouse=True)
def doomed(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """Worlds that wait in vain, from the start of this module on: they need most of a minute to give up."""
    cwd = tmp_path_factory.mktemp("doomed")
    with taken_port() as port:
        yield {
            "one is missing": worlds.start(torch_world(2, claimed=3), ("train", "--output-dir", "run"), cwd=cwd),
            "a stranger listens": worlds.start(torch_world(2, port=port), ("train", "--output-dir", "run"), cwd=cwd),
        }


@pytest.fixture
def train(worlds: Worlds, tiny_dataset: Path, tmp_path: Path) -> Train:
    """Start `nima train` on the tiny dataset in a world of some size."""
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG, encoding="utf-8")

    def start(
        size: int,
        run_dir: Path,
        *args: str,
        environs: list[dict[str, str]] | None = None,
        stop_at_save: int = 0,
    ) -> World:
        command: tuple[str | Path, ...] = (
            "train",
            "-c",
            config,
            "--data",
            tiny_dataset,
            "--output-dir",
            run_dir,
            *QUIET,
            *args,
        )
        return worlds.start(environs or torch_world(size), command, cwd=tmp_path, stop_at_save=stop_at_save)

    return start


def codes(ended: list[Ended]) -> list[int | None]:
    return [process.code for process in ended]


def errors(ended: list[Ended]) -> list[str]:
    """All that any process complained about."""
    return [line for process in ended for line in process.stderr.splitlines() if line.startswith("error: ")]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """Model and optimizer of a checkpoint, by name."""
    loaded = checkpoints.load(path)
    assert loaded.optimizer is not None
    state = {f"{name}/{key}": value for name, kept in loaded.optimizer.items() for key, value in kept.items()}
    return {**loaded.model, **state}


def figures(run_dir: Path) -> dict[tuple[object, object], float]:
    """(event, step) to loss."""
    found = rows(run_dir, "step") + rows(run_dir, "eval")
    return {(row["event"], row["step"]): float(str(row["loss"])) for row in found}


def test_any_number_of_processes_learns_what_one_does(train: Train, tmp_path: Path) -> None:
    for size in (1, 2, 4):
        ended = train(size, tmp_path / str(size), *DROPOUT).wait(180)
        assert codes(ended) == [0] * size, ended
        assert [bool(process.stderr) for process in ended] == [True] + [False] * (size - 1)
    alone, one = figures(tmp_path / "1"), tensors(tmp_path / "1" / "checkpoint_last.pt")
    assert len(alone) == 14
    for folder in (tmp_path / "2", tmp_path / "4"):
        assert figures(folder) == {key: pytest.approx(loss, abs=1e-5) for key, loss in alone.items()}
        other = tensors(folder / "checkpoint_last.pt")
        assert [(name, value.shape, value.dtype) for name, value in other.items()] == [
            (name, value.shape, value.dtype) for name, value in one.items()
        ]
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4, msg=name)
        names = {path.name for path in folder.iterdir()}
        assert names == {path.name for path in (tmp_path / "1").iterdir()}


@pytest.mark.parametrize("sizes", [(2, 1, 2), (4, 2)])
def test_a_run_goes_on_with_another_number_of_processes(sizes: tuple[int, ...], train: Train, tmp_path: Path) -> None:
    often = (*DROPOUT, "--set", "training.save_steps=3")
    assert codes(train(1, tmp_path / "whole", *often).wait(120)) == [0]
    for part, size in enumerate(sizes):
        last = part == len(sizes) - 1
        resume = ("--resume", "auto") if part else ()
        ended = train(size, tmp_path / "parts", *often, *resume, stop_at_save=0 if last else 1).wait(120)
        assert codes(ended) == [0 if last else 143] * size, ended
        if part:
            assert f"{size} processes instead of {sizes[part - 1]}" in ended[0].stderr
    whole = figures(tmp_path / "whole")
    assert figures(tmp_path / "parts") == {key: pytest.approx(loss, abs=1e-5) for key, loss in whole.items()}


def test_only_the_first_process_touches_files(train: Train, tmp_path: Path) -> None:
    first, second = train(2, tmp_path / "run").wait(120)
    assert (first.code, second.code) == (0, 0)
    assert "checkpoint_last.pt" in first.written
    assert second.written == ""


def test_slurm_tasks_find_each_other(train: Train, tmp_path: Path) -> None:
    job = random.Random(str(tmp_path)).randrange(10**6)
    ended = train(2, tmp_path / "run", "--max-steps", "2", environs=slurm_world(2, job)).wait(120)
    assert codes(ended) == [0, 0], ended
    assert rows(tmp_path / "run", "run_ended")[0]["reason"] == "completed"


LONG = ("--max-steps", "5000", "--set", "training.eval_steps=5000")


def training(run_dir: Path) -> None:
    """Wait until a run has done a few steps."""
    metrics = run_dir / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.read_text("utf-8").count('"event": "step"') > 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_one_process_stops_all(number: int, code: int, train: Train, tmp_path: Path) -> None:
    world = train(2, tmp_path / "run", *LONG)
    training(tmp_path / "run")
    world.kill(1, number)
    assert codes(world.wait()) == [143, code]  # the first was not signalled, and ends as if told to
    ended = rows(tmp_path / "run", "run_ended")[0]
    assert ended["reason"] == "interrupted"
    assert checkpoints.load(tmp_path / "run" / "checkpoint_last.pt").header["step"] == ended["step"]


def test_a_signal_to_one_process_saves_once_and_training_goes_on(train: Train, tmp_path: Path) -> None:
    world = train(2, tmp_path / "run", *LONG)
    training(tmp_path / "run")
    assert not rows(tmp_path / "run", "saved")
    world.kill(1, signal.SIGUSR1)
    wait_for(lambda: '"event": "saved"' in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8"))
    world.kill(0, signal.SIGTERM)
    assert codes(world.wait()) == [143, 143]
    assert len(rows(tmp_path / "run", "saved")) == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_process_ends_all_and_harms_nothing(victim: int, train: Train, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    world = train(3, run_dir, *LONG, "--set", "training.save_steps=2", "--batch-size", "6")
    training(run_dir)
    world.kill(victim)
    ended = world.wait()
    assert codes(ended) == [-9 if rank == victim else 4 for rank in range(3)]
    assert errors(ended) == ([] if victim == 0 else ["error: lost contact with another process"])
    step = checkpoints.newest_valid(run_dir)[1].header["step"]
    assert step >= 2
    again = train(2, run_dir, "--resume", "auto", "--max-steps", str(step + 2), "--batch-size", "6").wait(120)
    assert codes(again) == [0, 0]


@pytest.mark.parametrize(
    ("environs", "args", "said"),
    [
        (torch_world(2), ("--set", "hardware.backend=nccl"), "needs CUDA GPUs"),
        (torch_world(2), ("--device", "cuda"), "GPU 0 was asked for"),
        ([{**environ, "RANK": "5"} for environ in torch_world(2)], (), "process 5 of 2"),
        ([{**environ, "WORLD_SIZE": "two"} for environ in torch_world(2)], (), "the launcher's variables"),
        ([{"WORLD_SIZE": "2"}] * 2, (), "the launcher's variables"),
    ],
)
def test_a_world_that_cannot_be_is_refused_everywhere(
    environs: list[dict[str, str]], args: tuple[str, ...], said: str, train: Train, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    ended = train(2, tmp_path / "run", *args, environs=environs).wait()
    assert codes(ended) == [4, 4]
    found = errors(ended)
    assert found
    assert all(said in line for line in found)
    assert "Traceback" not in "".join(process.stderr for process in ended)
    assert contents(tmp_path).keys() - before.keys() == set()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--batch-size", "3"), 2, "cannot be shared by 2 processes"),
        (("--resume", "nothing.pt"), 3, "nothing.pt"),
        (("--set", "training.no_such_key=1"), 2, "no_such_key"),
    ],
)
def test_what_all_would_refuse_is_said_once(
    args: tuple[str, ...], code: int, said: str, train: Train, tmp_path: Path
) -> None:
    ended = train(2, tmp_path / "run", *args).wait()
    assert codes(ended) == [code, code]
    (line,) = errors(ended)
    assert said in line


def test_a_dry_run_and_an_evaluation_are_the_first_processs_job(train: Train, tmp_path: Path) -> None:
    first, second = train(2, tmp_path / "run", "--dry-run", "--json").wait()
    assert (first.code, second.code) == (0, 0)
    assert "total_steps" in first.stdout
    assert second.stdout + second.stderr == ""


def test_who_waits_in_vain_gives_up(doomed: dict[str, World]) -> None:
    for world in doomed.values():
        ended = world.wait()
        assert codes(ended) == [4, 4]
        assert len(errors(ended)) == 2
        assert all("could not join the others" in line for line in errors(ended))
