"""`nima train` as users run it: what it writes and prints, how it stops, goes on, and refuses."""

import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima, contents, refused, rows, start, wait_for

STEP_FIELDS = {
    "event", "step", "epoch", "tokens", "loss", "perplexity", "learning_rate", "grad_norm", "tokens_per_second",
    "train_seconds", "elapsed_seconds", "skipped_steps",
}  # fmt: skip
EVAL_FIELDS = {
    "event", "step", "split", "loss", "perplexity", "bits_per_byte", "accuracy", "tokens", "train_seconds",
    "elapsed_seconds", "best", "train_loss",
}  # fmt: skip


def test_a_run_leaves_every_promised_file(tiny_run: TinyRun) -> None:
    assert tiny_run.ran.code == 0, tiny_run.ran.stderr
    names = {path.name for path in tiny_run.run_dir.iterdir()}
    assert names >= {
        "config.yaml", "checkpoint_best.pt", "checkpoint_last.pt", "metrics.jsonl", "tensorboard", "plots",
        "samples.jsonl", "logs",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".tmp", ".part", ".owner"))]
    for name in ("loss", "perplexity", "learning_rate"):
        data = (tiny_run.run_dir / "plots" / f"{name}.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (1200, 750)


def test_metrics_hold_the_promised_fields(tiny_run: TinyRun) -> None:
    first, *_, last = rows(tiny_run.run_dir)
    assert first["event"] == "run_started"
    assert first.keys() >= {"version", "config", "parameters", "tokens", "device", "dtype", "seed"}
    steps = rows(tiny_run.run_dir, "step")
    assert [row["step"] for row in steps] == list(range(1, 13))
    assert all(row.keys() == STEP_FIELDS for row in steps)
    evals = rows(tiny_run.run_dir, "eval")
    assert [(row["step"], row["split"]) for row in evals] == [(6, "val"), (12, "val")]
    assert all(row.keys() == EVAL_FIELDS for row in evals)
    saved = rows(tiny_run.run_dir, "saved")
    assert {str(row["path"]) for row in saved} == {"checkpoint_best.pt", "checkpoint_last.pt"}
    assert all(row.keys() == {"event", "step", "path", "bytes", "seconds"} for row in saved)
    assert last["event"] == "run_ended"
    assert (last["reason"], last["step"]) == ("completed", 12)
    samples = [json.loads(line) for line in (tiny_run.run_dir / "samples.jsonl").read_text("utf-8").splitlines()]
    assert [(row["step"], row["prompt"]) for row in samples] == [(6, "The"), (12, "The")]


def test_json_is_one_object_and_talk_is_plain(tiny_run: TinyRun) -> None:
    result = tiny_run.ran.json()
    best = min(rows(tiny_run.run_dir, "eval"), key=lambda row: float(str(row["loss"])))
    assert result == {
        "run_dir": str(tiny_run.run_dir), "reason": "completed", "step": 12, "best_loss": best["loss"],
        "best_step": best["step"],
    }  # fmt: skip
    assert tiny_run.ran.stdout.count("\n") == 1
    assert str(tiny_run.run_dir) in tiny_run.ran.stderr
    assert "step 12/12" in tiny_run.ran.stderr
    assert "\x1b" not in tiny_run.ran.stderr
    assert "\r" not in tiny_run.ran.stderr


def test_tensorboard_reads_what_was_measured(tiny_run: TinyRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tiny_run.run_dir / "tensorboard"))
    read.Reload()
    by_step = {row["step"]: row for row in rows(tiny_run.run_dir, "step")}
    for field in ("loss", "learning_rate"):
        (tag,) = [tag for tag in read.Tags()["scalars"] if tag.endswith(field) and "val" not in tag]
        points = {point.step: point.value for point in read.Scalars(tag)}
        assert points == {step: pytest.approx(row[field], rel=1e-6) for step, row in by_step.items()}


def interrupt(tiny_run: TinyRun, folder: Path, sent: signal.Signals) -> tuple[Path, int]:
    """Start a long run under `experiments/`, send a signal after some steps; returns its directory and last step."""
    (folder / "long.yaml").write_text(CONFIG.replace("max_steps: 12", "max_steps: 20000"), encoding="utf-8")
    arguments = ("train", "-c", "long.yaml", "--data", tiny_run.data, "--set", "training.epochs=9999")
    process = start(arguments, folder / "home", cwd=folder)
    run_dir = folder / "experiments" / "long"
    metrics = run_dir / "metrics.jsonl"
    wait_for(lambda: process.poll() is not None or (metrics.exists() and metrics.read_bytes().count(b'"step", ') > 8))
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent], stderr.decode()
    assert stdout == b""
    last = int(str(rows(run_dir, "step")[-1]["step"]))
    assert f"interrupted at step {last}" in stderr.decode()
    assert rows(run_dir)[-1]["reason"] == "interrupted"
    return run_dir, last


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resume_goes_on(sent: signal.Signals, tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    run_dir, last = interrupt(tiny_run, tmp_path, sent)
    ran = nima("train", "--resume", "auto", "--max-steps", str(last + 5), cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert f"resuming from step {last}" in ran.stderr
    assert [row["step"] for row in rows(run_dir, "step")] == list(range(1, last + 6))
    assert len(rows(run_dir, "run_ended")) <= 2


_TWO_SIGNALS = """
import time
from nima_cli.cli import stop
stop.install()
print("ready", flush=True)
while stop.requested() is None:
    time.sleep(0.01)
print(stop.requested(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("sent", "name"), [(signal.SIGINT, b"INT"), (signal.SIGTERM, b"TERM"), (signal.SIGHUP, b"HUP")]
)
def test_the_first_signal_is_a_wish_and_the_second_ends_at_once(sent: signal.Signals, name: bytes) -> None:
    with subprocess.Popen([sys.executable, "-c", _TWO_SIGNALS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(sent)
        assert process.stdout.readline() == name + b"\n"
        began = time.monotonic()
        process.send_signal(sent)
        assert process.wait(timeout=10) == -sent
        assert time.monotonic() - began < 5


def test_init_from_starts_from_the_weights(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima(
        "train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", tmp_path / "new",
        "--init-from", tiny_run.run_dir, "--max-steps", "1",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    (step,) = rows(tmp_path / "new", "step")
    assert step["step"] == 1
    assert float(str(step["loss"])) < float(str(rows(tiny_run.run_dir, "step")[3]["loss"]))


def test_dry_run_plans_and_writes_nothing(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = ("train", "-c", tiny_run.config, "--data", tiny_run.data, "--dry-run")
    shown = nima(*arguments, cwd=tmp_path)
    assert shown.code == 0, shown.stderr
    assert "43,232 parameters" in shown.stdout
    plan = nima(*arguments, "--json", "--set", "training.warmup_steps=9", cwd=tmp_path).json()
    assert (plan["parameters"], plan["total_steps"], plan["tokens_per_step"]) == (43232, 12, 256)
    assert plan["warmup_steps"] == 1
    assert "`training.warmup_steps` 9 reaches past half of the 12 steps; shortened to 1" in plan["notes"]
    assert list(tmp_path.iterdir()) == []


def test_flags_and_their_places_are_shown(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima(
        "train", "-c", tiny_run.config, "--data", tiny_run.data, "--epochs", "3", "--max-steps", "7",
        "--batch-size", "2", "--learning-rate", "0.003", "--seed", "5", "--device", "cpu",
        "--set", "model.dropout=0.2", "--dry-run", "--verbose", cwd=tmp_path, env={"NIMA_TRAINING__MIN_LR": "1e-4"},
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    for line in (
        "training.epochs = 3.0  (--epochs)", "training.max_steps = 7  (--max-steps)",
        "training.batch_size = 2  (--batch-size)", "training.learning_rate = 0.003  (--learning-rate)",
        "training.seed = 5  (--seed)", "hardware.device = cpu  (--device)", "model.dropout = 0.2  (--set)",
        "training.min_lr = 0.0001  (NIMA_TRAINING__MIN_LR)", f"model.n_layers = 2  ({tiny_run.config}:3)",
    ):  # fmt: skip
        assert line in ran.stderr.splitlines()


def test_eval_only_reports_the_test_split(tiny_run: TinyRun, nima: Nima) -> None:
    before = contents(tiny_run.run_dir)
    found = nima("train", "--eval-only", "--output-dir", tiny_run.run_dir, "--json").json()
    assert found == nima("eval", "--checkpoint", tiny_run.run_dir, "--json").json()
    assert found["split"] == "test"
    named = nima("train", "--eval-only", "--resume", tiny_run.run_dir / "checkpoint_last.pt", "--json").json()
    assert named["checkpoint"].endswith("checkpoint_last.pt")
    assert contents(tiny_run.run_dir) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("- a\n- b\n", ""),
        ("just words\n", ""),
        ("training:\n  learning_rat: 0.1\n", "learning_rat"),
        ("model:\n  preset: gpt-huge\n", "gpt-huge"),
        ("training: {batch_size: 3}\nhardware: {distributed: true, gpu_ids: [0, 1]}\n", "cannot be shared by 2"),
    ],
)
def test_a_bad_config_is_one_line_and_writes_nothing(
    text: str | None, said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    before = contents(tmp_path)
    line = refused(nima("train", "-c", path, "--data", tiny_run.data, cwd=tmp_path), 2)
    assert said in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--preset", "gpt-huge"), 2),
        (("--epochs", "many"), 2),
        (("--epochs", "0"), 2),
        (("--device", "tpu"), 2),
        (("--data", "nowhere"), 2),
        (("--resume", "auto"), 2),
        (("--resume", "nothing.pt"), 3),
        (("--no-such-flag",), 2),
        (("--set", "training"), 2),
        (("--eval-only",), 2),
    ],
)
def test_a_bad_command_line_is_one_line(arguments: tuple[str, ...], code: int, nima: Nima, tmp_path: Path) -> None:
    refused(nima("train", *arguments, cwd=tmp_path), code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    arguments = (
        "train", "-c", tiny_run.config, "--data", tiny_run.data, "--max-steps", "4",
        "--set", "evaluation.generation.enabled=false", "--json",
    )  # fmt: skip
    one = nima(*arguments, "--output-dir", tmp_path / "one")
    assert one.code == 0, one.stderr
    two = ("--set", "hardware.distributed=true", "--set", "hardware.gpu_ids=[0,1]")
    process = start((*arguments, "--output-dir", tmp_path / "two", *two), tmp_path / "home")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr.decode()
    result = json.loads(stdout)
    assert (result["reason"], result["step"]) == ("completed", 4)
    assert stderr.decode().count("done at step 4") == 1
    assert "\x1b" not in stderr.decode()
    for event in ("step", "eval"):
        pairs = zip(rows(tmp_path / "one", event), rows(tmp_path / "two", event), strict=True)
        for first, second in pairs:
            assert (first["step"], first["tokens"]) == (second["step"], second["tokens"])
            assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


@pytest.mark.parametrize("precision", ["false", "bf16"])
def test_without_a_compiler_a_run_learns_the_same(
    tiny_run: TinyRun, nima: Nima, compiled: Path, tmp_path: Path, precision: str
) -> None:
    runs = []
    for name, env in (("with", {}), ("without", {"PATH": str(tmp_path)})):
        settings = [f"training.use_mixed_precision={precision}", "model.dropout=0.1", "training.max_steps=4"]
        flags = [part for setting in settings for part in ("--set", setting)]
        folder = tmp_path / name
        ran = nima("train", "-c", tiny_run.config, "--data", tiny_run.data, "--output-dir", folder, *flags, env=env)
        assert ran.code == 0, ran.stderr
        runs.append([float(str(row["loss"])) for row in rows(folder, "step")])
    assert len(runs[0]) == 4
    assert runs[0] == pytest.approx(runs[1], rel=1e-5 if precision == "false" else 1e-2)
    if list(compiled.glob("kernels-*.so")):
        assert runs[0] != runs[1], "the kernels were not used"
