"""A command line that cannot be read: the hint is what was meant, or where to look."""

import pytest

from tests.cli.programs import Nima, refused

OPTIONS = [
    ("train --lr 1e-3", "`--learning-rate`"),
    ("train --bs 8", "`--batch-size`"),
    ("train --steps 100", "`--max-steps`"),
    ("train --wd 0.1", "`--set training.weight_decay=...`"),
    ("train --weight-decay 0.1", "`--set training.weight_decay=...`"),
    ("train --n_layers 3", "`--set model.n_layers=...`"),
    ("train --gpu", "`--device cuda`"),
    ("train --model gpt-tiny", "`--preset`"),
    ("train --outdir x", "`--output-dir`"),
    ("train --lerning-rate 1", "`--learning-rate`"),
    ("chat --model x.pt", "`--checkpoint`"),
    ("chat --temp 1", "`--temperature`"),
    ("generate --max_tokens 5", "`--max-new-tokens`"),
    ("generate --n 3", "`--num-samples`"),
    ("data prepare --input docs", "`--text-files`"),
    ("data prepare --overwite", "`--overwrite`"),
    ("export --out x", "`--output`"),
]
COMMANDS = [
    ("prepare --text-files docs", "`nima data prepare`"),
    ("inspect data/x", "`nima data inspect`"),
    ("evaluate", "`nima eval`"),
    ("sample", "`nima generate`"),
    ("finetune", "`nima train`"),
    ("trian", "`nima train`"),
    ("data train", "`nima train`"),
    ("data prepar", "`nima data prepare`"),
]
ARGUMENTS = [
    ("train docs", "`nima train --data docs`"),
    ("train run.yaml", "`nima train -c run.yaml`"),
    ("data prepare docs", "`nima data prepare --text-files docs`"),
]
VALUES = [
    ("train --device gpu", "`cuda`"),
    ("train --preset tiny", "`gpt-tiny`"),
    ("train --set training.lr=1", "`training.learning_rate`"),
    ("train --set training.steps=1", "`training.max_steps`"),
    ("train --set model.n_embd=64", "`model.d_model`"),
    ("train --set lr=1", "expected `section.key=value`"),
]


@pytest.mark.parametrize(("line", "meant"), [*OPTIONS, *COMMANDS, *ARGUMENTS, *VALUES])
def test_what_was_meant_is_said(line: str, meant: str, nima: Nima) -> None:
    ran = nima(*line.split())
    assert meant in refused(ran, 2) + ran.stderr.splitlines()[-1]
    assert "--help" not in ran.stderr


@pytest.mark.parametrize(("line", "path"), [("train --zzz", "nima train"), ("data zzz", "nima data"), ("qqq", "nima")])
def test_what_nobody_can_guess_leads_to_the_help(line: str, path: str, nima: Nima) -> None:
    ran = nima(*line.split())
    refused(ran, 2)
    assert ran.stderr.splitlines()[-1] == f"hint: see `{path} --help`"


def test_a_key_that_nobody_can_guess_gets_a_short_list(nima: Nima) -> None:
    ran = nima("train", "--set", "training.qqqqqq=1")
    refused(ran, 2)
    hint = ran.stderr.splitlines()[-1]
    assert hint.count("`") == 16
    assert hint.endswith("more: see docs/config.md")


@pytest.mark.parametrize("path", ["", "train", "data prepare"])
def test_help_is_a_word_too(path: str, nima: Nima) -> None:
    words = path.split()
    assert nima("help", *words).stdout == nima(*words, "--help").stdout != ""


def test_values_of_eval_are_guessed_too(nima: Nima) -> None:
    for flags, meant in (
        (("--device", "gpu"), "`--device cuda`"), (("--dtype", "fp32"), "`--dtype float32`"),
        (("--split", "validation"), "`--split val`"),
    ):  # fmt: skip
        ran = nima("eval", "some.pt", *flags)
        refused(ran, 2)
        assert ran.stderr.splitlines()[-1] == f"hint: did you mean {meant}?"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--format", "json", "--text-files", "docs"), "expected one of `qa`, `chat`, `doc`, `auto`"),
        (("--format", "qa", "--text-files", "docs"), "applies to no file"),
        (("--format", "qa", "--source", "docs"), "applies to no file"),
    ],
)
def test_a_format_that_nothing_would_heed_is_refused(flags: tuple[str, ...], said: str, nima: Nima) -> None:
    assert said in refused(nima("data", "prepare", "--output-dir", "x", *flags), 2)


@pytest.mark.parametrize(
    "line",
    [
        ("train", "--output-dir", ""),
        ("train", "--data", ""),
        ("data", "prepare", "--text-files", "x", "--output-dir", ""),
        ("chat", ""),
        ("eval", "--checkpoint", ""),
        ("export", "--format", "hf", "--output", ""),
        ("plot", ""),
    ],
)
def test_an_empty_path_is_not_this_folder(line: tuple[str, ...], nima: Nima) -> None:
    """What `--output-dir "$RUNS"` becomes where the variable is not set."""
    assert "the path is empty" in refused(nima(*line), 2)
