"""`--init-from`: shape and tokenizer are the checkpoint's, everything else is free."""

from pathlib import Path

from nima_cli.engine.checkpoint.file import load
from nima_cli.engine.data.tokenizer.load import load_tokenizer
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, refused, rows

FEW = ("--max-steps", "1", "--set", "evaluation.generation.enabled=false", "--device", "cpu")


def test_the_shape_need_not_be_given_again_and_the_learning_rate_is_free(
    tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    ran = nima(
        "train", "--init-from", tiny_run.run_dir, "--data", tiny_run.data, "--output-dir", new,
        "--learning-rate", "0.003", "--set", "training.warmup_steps=0", *FEW,
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    assert load(new / "checkpoint_last.pt").shape == load(tiny_run.run_dir / "checkpoint_last.pt").shape
    (step,) = rows(new, "step")
    assert step["learning_rate"] == 0.003
    assert float(str(step["loss"])) < float(str(rows(tiny_run.run_dir, "step")[3]["loss"]))


def test_sources_are_prepared_with_the_tokenizer_of_the_checkpoint(
    tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    config = tmp_path / "tune.yaml"
    config.write_text(f"data: {{dir: prepared, max_length: 64, sources: [{{path: '{tiny_corpus}'}}]}}\n", "utf-8")
    ran = nima("train", "-c", config, "--init-from", tiny_run.run_dir, "--output-dir", "run", *FEW, cwd=tmp_path)
    assert ran.code == 0, ran.stderr
    assert load_tokenizer(tmp_path / "prepared").sha256 == load_tokenizer(tiny_run.data).sha256


def test_data_can_be_prepared_for_a_run(tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path) -> None:
    for number, named in enumerate((tiny_run.run_dir, tiny_run.run_dir / "checkpoint_last.pt")):
        out = tmp_path / str(number)
        ran = nima("data", "prepare", "--text-files", tiny_corpus, "--output-dir", out, "--tokenizer-from", named)
        assert ran.code == 0, ran.stderr
        assert load_tokenizer(out).sha256 == load_tokenizer(tiny_run.data).sha256


def test_data_of_another_tokenizer_is_refused_with_the_way_to_prepare_it(
    tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert nima("data", "prepare", "--text-files", tiny_corpus, "--output-dir", other, "--vocab-size", "330").code == 0
    ran = nima("train", "--init-from", tiny_run.run_dir, "--data", other, "--output-dir", tmp_path / "new", *FEW)
    assert "its tokenizer is not the one of" in refused(ran, 2)
    assert f"--tokenizer-from '{tiny_run.run_dir}'" in ran.stderr


def test_another_shape_is_refused_by_name(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = nima(
        "train", "--init-from", tiny_run.run_dir, "--data", tiny_run.data, "--output-dir", tmp_path / "new",
        "--set", "model.n_layers=3", *FEW,
    )  # fmt: skip
    assert "`n_layers` 2 and 3" in refused(ran, 2)


def test_a_checkpoint_that_is_not_there_is_named(nima: Nima, tmp_path: Path) -> None:
    assert "no such checkpoint" in refused(nima("train", "--init-from", tmp_path / "none.pt", *FEW), 3)
