"""`nima train --resume` and its relatives: what goes on, what is left alone, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import load
from nima_cli.files import folder_lock
from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima, contents, environment, refused, rows


def test_a_finished_run_is_left_alone(tiny_run: TinyRun, nima: Nima) -> None:
    before = contents(tiny_run.run_dir)
    ran = nima("train", "--resume", tiny_run.run_dir, "--json")
    assert ran.code == 0
    assert "already complete at step 12" in ran.stderr
    assert ran.json() == tiny_run.ran.json()
    assert contents(tiny_run.run_dir) == before


def test_more_steps_extend_a_finished_run(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    ran = nima("train", "--resume", run_dir, "--max-steps", "14")
    assert ran.code == 0, ran.stderr
    assert "the schedule is laid over 14 steps from step 12 on" in ran.stderr
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, 15))


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        (("--learning-rate", "0.02"), {}, "`training.learning_rate` was 0.01, is now 0.02"),
        (("--set", "model.n_layers=3"), {}, "`model.n_layers` was 2, is now 3"),
        ((), {"NIMA_TRAINING__SEED": "7"}, "`training.seed` was 42, is now 7"),
    ],
)
def test_a_changed_run_is_refused_whatever_changed_it(
    flags: tuple[str, ...], env: dict[str, str], named: str, tiny_run: TinyRun, nima: Nima
) -> None:
    before = contents(tiny_run.run_dir)
    assert named in refused(nima("train", "--resume", tiny_run.run_dir, *flags, env=env), 2)
    assert contents(tiny_run.run_dir) == before


def test_a_changed_config_file_is_refused_too(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(CONFIG.replace("batch_size: 4", "batch_size: 2"), encoding="utf-8")
    ran = nima("train", "-c", changed, "--resume", tiny_run.run_dir / "checkpoint_last.pt")
    assert "`training.batch_size` was 4, is now 2" in refused(ran, 2)


def test_other_data_is_refused_until_allowed(tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path) -> None:
    other, run_dir = tmp_path / "other", tiny_run.copy(tmp_path)
    files = ("--json-files", tiny_corpus / "qa.json", "--tokenizer-from", tiny_run.data, "--max-length", "128")
    assert nima("data", "prepare", "--output-dir", other, *files).code == 0
    arguments = ("train", "--resume", run_dir, "--data", other, "--max-steps", "13")
    assert "not this run's dataset" in refused(nima(*arguments), 2)
    ran = nima(*arguments, "--allow-data-change")
    assert ran.code == 0, ran.stderr
    assert rows(run_dir, "step")[-1]["step"] == 13


def test_a_free_key_may_change_and_the_run_may_have_moved(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    moved = tiny_run.copy(tmp_path)
    ran = nima("train", "--resume", moved, "--max-steps", "13", "--set", "training.log_steps=5", "--quiet")
    assert (ran.code, ran.stdout) == (0, ""), ran.stderr
    assert rows(moved, "step")[-1]["step"] == 13
    evaluated = nima("eval", "--checkpoint", moved, "--json")
    assert evaluated.code == 0, evaluated.stderr
    assert evaluated.json()["step"] in (12, 13)


@pytest.mark.parametrize("how", [("--resume", "auto"), ()])
def test_a_directory_in_use_is_refused(how: tuple[str, ...], tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    with folder_lock(run_dir):
        ran = nima("train", "--data", tiny_run.data, "--output-dir", run_dir, *how, "--max-steps", "20")
    assert f"in use by pid {os.getpid()} on " in refused(ran, 4)


def test_a_new_run_never_takes_the_directory_of_another(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tiny_run.run_dir)
    assert "already holds a run" in refused(ran, 2)
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--max-steps", "1", "--quiet")
    for _ in range(2):
        assert nima(*arguments, cwd=tmp_path).code == 0
    runs = tmp_path / "experiments"
    assert sorted(path.name for path in runs.iterdir()) == [".last", "tiny config", "tiny config-2"]
    assert (runs / ".last").read_text("utf-8") == "tiny config-2\n"


@pytest.mark.parametrize("damage", ["cut short", "a wrong number"])
def test_an_unreadable_checkpoint_is_named(damage: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir = tiny_run.copy(tmp_path)
    newest = run_dir / "checkpoint_last.pt"
    content, middle = newest.read_bytes(), newest.stat().st_size // 2
    rest = b"" if damage == "cut short" else bytes(200) + content[middle + 200 :]
    newest.write_bytes(content[:middle] + rest)
    assert "checkpoint_last.pt" in refused(nima("train", "--resume", newest), 3)
    passed_over = f"{newest}: damaged"
    planned = nima("train", "--resume", run_dir, "--dry-run")
    assert planned.code == 0, planned.stderr
    assert (passed_over in planned.stderr) == (damage == "cut short"), "a plan reads no weights"
    for arguments in (("--eval-only", "--json"), ("--max-steps", "13")):
        ran = nima("train", "--resume", run_dir, *arguments)  # the other one still loads
        assert ran.code == 0, ran.stderr
        assert passed_over in ran.stderr
        assert "going on from checkpoint_best.pt" in ran.stderr
        assert "--json" not in arguments or ran.json()["checkpoint"] == str(run_dir / "checkpoint_best.pt")


def test_another_output_dir_begins_a_new_run_and_leaves_the_old_one(
    tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    before, branch = contents(tiny_run.run_dir), tmp_path / "branch"
    longer = ("--max-steps", "14", "--set", "training.eval_steps=50")
    ran = nima("train", "--resume", tiny_run.run_dir, "--output-dir", branch, *longer)
    assert ran.code == 0, ran.stderr
    assert contents(tiny_run.run_dir) == before
    assert "a new run, going on from" in ran.stderr
    assert [row["step"] for row in rows(branch, "step")] == list(range(1, 15)), "its curve is whole"
    assert {row["step"] for row in rows(branch, "eval")} >= {6, 12}
    assert load(branch / "checkpoint_last.pt").header["step"] == 14
    assert load(branch / "checkpoint_best.pt").header["step"] in (12, 14)
    assert (branch / "config.yaml").is_file()
    straight = tiny_run.copy(tmp_path)
    assert nima("train", "--resume", straight, *longer).code == 0
    assert rows(branch, "step")[-1]["loss"] == rows(straight, "step")[-1]["loss"]


def test_a_branch_can_go_on_from_its_first_moment(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    branch = tmp_path / "branch"
    ran = nima(
        "train", "--resume", tiny_run.run_dir / "checkpoint_last.pt", "--output-dir", branch, "--max-steps", "13",
        "--set", "training.save_steps=100", "--set", "training.eval_steps=100",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    again = nima("train", "--resume", "auto", "--output-dir", branch, "--max-steps", "14")
    assert again.code == 0, again.stderr
    taken = nima("train", "--resume", tiny_run.run_dir, "--output-dir", branch, "--max-steps", "14")
    assert "already holds a run" in refused(taken, 2)


def test_a_branch_that_is_refused_leaves_nothing(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima("train", "--resume", tiny_run.run_dir, "--output-dir", tmp_path / "branch", "--learning-rate", "0.5")
    assert "`training.learning_rate` was 0.01" in refused(ran, 2)
    assert list(tmp_path.iterdir()) == []


COST = """
import gc, json, sys, tempfile
from pathlib import Path
import torch
from nima_cli.cli.training import processes, programs, start
from nima_cli.errors import DeviceError

class SaveBegunError(Exception): pass

def end_at_a_save(event, arguments):
    if event == "open" and "checkpoint_" in str(arguments[0]) and arguments[1] == "w":
        storages = [one.untyped_storage() for one in gc.get_objects() if isinstance(one, torch.Tensor)]
        raise SaveBegunError(sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()))

def bytes_read():
    return int(Path("/proc/thread-self/io").read_text().split()[1])

def cost(program, *, begin=False, **settings):
    where = {"init_from": Path(sys.argv[1]), "output_dir": Path(tempfile.mkdtemp(dir="."))}
    overrides = {"data.dir": sys.argv[2], "training.max_steps": 4, **settings}
    given = {"set_": sys.argv[3:], "quiet": True, "json": True, **(where if begin else {"resume": sys.argv[1]})}
    options = start.TrainOptions(**dict.fromkeys(start.TrainOptions.__slots__) | given | {"overrides": overrides})
    held, began = 0, bytes_read()
    try:
        processes.run(lambda: program(options), quiet=True, json=True)
    except SaveBegunError as save:
        (held,) = save.args
    except DeviceError:
        pass
    return bytes_read() - began, held

sys.addaudithook(end_at_a_save)
no_gpu = {"hardware.device": "cuda", "hardware.gpu_ids": [999]}  # refused as soon as all decisions are made
for _ in range(2):  # the first time, modules are read as well
    found = {
        "plan": cost(programs.show_plan, **no_gpu), "plan to begin": cost(programs.show_plan, begin=True, **no_gpu),
        "verdict": cost(programs.show_verdict, **no_gpu), "evaluation": cost(programs.evaluate_run),
        "resume": cost(start.start_training), "begin": cost(start.start_training, begin=True),
    }
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts bytes as Linux does")
def test_tensors_are_read_once_to_be_used_and_never_to_decide(
    tiny_run: TinyRun, nima: Nima, home: Path, tmp_path: Path
) -> None:
    keys = (
        "hardware.compiler=none", "evaluation.generation.enabled=false", "training.save_steps=1",
        "training.eval_steps=1", "training.log_steps=1", "monitoring.plots=false", "monitoring.tensorboard=false",
    )  # fmt: skip
    arguments = ("train", "--max-steps", "3", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", "run")
    ran = nima(*arguments, "--set=model.d_ff=4096", *(f"--set={key}" for key in keys), cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    size = (tmp_path / "run" / "checkpoint_last.pt").stat().st_size
    assert size > 5_000_000
    program = [sys.executable, "-c", COST, "run", str(tiny_run.data), *keys]
    done = subprocess.run(
        program, check=True, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment(home)
    )
    found = json.loads(done.stdout.splitlines()[-1])
    times_read = {"plan": 0, "plan to begin": 0, "verdict": 0, "evaluation": 1, "resume": 1, "begin": 1}
    for name, times in times_read.items():
        assert times * size <= found[name][0] < (times + 0.1) * size, name
    for name in ("resume", "begin"):  # the run's own tensors and the copies to save, but not what was loaded
        assert 1.9 * size < found[name][1] < 2.5 * size, name
