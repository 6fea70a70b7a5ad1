"""A run finds its dataset from any working directory, moved or not, and never takes another for it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import CONFIG, Nima, refused, rows

OF_RUN = ("--max-steps", "2", "--set", "training.eval_steps=2", "--set", "monitoring.plots=false")


@pytest.fixture
def project(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> Path:
    """A project whose run was started with relative paths."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(tiny_run.data, root / "data/mine")
    (root / "run.yaml").write_text(CONFIG, "utf-8")
    ran = nima("train", "-c", "run.yaml", "--data", "data/mine", *OF_RUN, cwd=root)
    assert ran.code == 0, ran.stderr
    return root


def evaluated(nima: Nima, run: Path, cwd: Path) -> Path:
    ran = nima("eval", "--checkpoint", run, "--json", cwd=cwd)
    assert ran.code == 0, ran.stderr
    return Path(str(ran.json()["data"]))


def test_eval_and_resume_work_from_another_folder_and_after_a_move(nima: Nima, project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)
    run = project / "experiments/run"
    assert evaluated(nima, run, elsewhere) == project / "data/mine"
    # Another dataset that happens to have the same name from here is not taken for it.
    other = shutil.copytree(project / "data/mine", elsewhere / "data/mine")
    metadata = json.loads((other / "dataset_metadata.json").read_text("utf-8"))
    (other / "dataset_metadata.json").write_text(json.dumps({**metadata, "notes": ["another"]}), "utf-8")
    assert evaluated(nima, run, elsewhere) == project / "data/mine"
    moved = tmp_path / "moved"
    project.rename(moved)
    run = moved / "experiments/run"
    assert evaluated(nima, run, elsewhere) == moved / "data/mine"
    ran = nima("train", "--resume", run, "--max-steps", "3", cwd=elsewhere)
    assert ran.code == 0, ran.stderr
    assert [row["step"] for row in rows(run, "step")] == [1, 2, 3]
    assert str(tmp_path) not in (run / "config.yaml").read_text("utf-8")


def test_a_dataset_that_is_gone_is_to_be_named(nima: Nima, project: Path) -> None:
    (project / "data/mine").rename(project / "kept")
    for command in (("eval", "--checkpoint"), ("train", "--max-steps", "3", "--resume")):
        ran = nima(*command, project / "experiments/run", cwd=project)
        assert "the dataset it was trained on is not at data/mine" in refused(ran, 2)
        assert "--data" in ran.stderr
    ran = nima("eval", "--checkpoint", "experiments/run", "--data", "kept", cwd=project)
    assert ran.code == 0, ran.stderr


def test_a_run_made_from_relative_sources_goes_on_from_another_folder(
    nima: Nima, tiny_corpus: Path, tmp_path: Path
) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(tiny_corpus, root / "docs")
    settings = "data: {sources: [{path: docs}], vocab_size: 512, max_length: 128}\n"
    (root / "run.yaml").write_text(CONFIG + settings, "utf-8")
    ran = nima("train", "-c", "run.yaml", *OF_RUN, cwd=root)
    assert ran.code == 0, ran.stderr
    ran = nima("train", "--resume", root / "experiments/run", "--max-steps", "3", cwd=elsewhere)
    assert ran.code == 0, ran.stderr
    assert "preparing" not in ran.stderr


def test_training_on_a_leaking_dataset_is_warned_of(nima: Nima, project: Path) -> None:
    path = project / "data/mine/dataset_metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    metadata["leaks"]["val"]["tokens"] = metadata["splits"]["val"]["tokens"]
    path.write_text(json.dumps(metadata), "utf-8")
    ran = nima("train", "-c", "run.yaml", "--data", "data/mine", *OF_RUN, cwd=project)
    assert ran.code == 0, ran.stderr
    assert "warning: data/mine: 100% of the tokens of val also stand in train" in ran.stderr
