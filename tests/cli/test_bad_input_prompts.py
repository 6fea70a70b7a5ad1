"""Bad input to `nima generate` and `nima chat`: options out of range, prompts that are none, contexts that overflow."""

from pathlib import Path

import pytest

from nima_cli.engine.checkpoint.file import load, save
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, contents, refused

FEW = ("--max-new-tokens", "4")
RANGES = [
    (("--temperature", "-1"), "temperature", "from 0 to 100"),
    (("--temperature", "nan"), "temperature", "from 0 to 100"),
    (("--temperature", "inf"), "temperature", "from 0 to 100"),
    (("--temperature", "warm"), "temperature", "--help"),
    (("--top-k", "-1"), "top_k", "of at least 0"),
    (("--top-p", "0"), "top_p", "above 0 and at most 1"),
    (("--top-p", "1.5"), "top_p", "above 0 and at most 1"),
    (("--min-p", "1"), "min_p", "at least 0 and below 1"),
    (("--repetition-penalty", "0"), "repetition_penalty", "above 0 and at most 100"),
    (("--max-new-tokens", "0"), "--max-new-tokens", ""),
    (("--seed", "-1"), "seed", "from 0 to 2**63 - 1"),
    (("--seed", "9223372036854775808"), "seed", "from 0 to 2**63 - 1"),
]


@pytest.mark.parametrize("command", ["generate", "chat"])
@pytest.mark.parametrize(("flags", "said", "hint"), RANGES)
def test_row_86_an_option_out_of_range(
    command: str, flags: tuple[str, str], said: str, hint: str, tiny_run: TinyRun, nima: Nima
) -> None:
    before = contents(tiny_run.run_dir)
    asked = ("--prompt", "x") if command == "generate" else ("--once", "x")
    ran = nima(command, "--checkpoint", tiny_run.run_dir, *asked, *flags)
    assert said in refused(ran, 2)
    assert hint in ran.stderr
    assert contents(tiny_run.run_dir) == before


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_row_86_a_top_k_beyond_the_vocabulary_is_all_of_it(command: str, tiny_run: TinyRun, nima: Nima) -> None:
    asked = ("--prompt", "x") if command == "generate" else ("--once", "x")
    for top_k in ("513", str(10**30)):
        ran = nima(command, "--checkpoint", tiny_run.run_dir, *asked, *FEW, "--top-k", top_k)
        assert ran.code == 0
        assert f"warning: `--top-k` {top_k} is more than the 512 tokens there are" in ran.stderr
    assert nima(command, "--checkpoint", tiny_run.run_dir, *asked, *FEW, "--top-k", "512").stderr == ""


@pytest.mark.parametrize("temperature", ["1e-40", "1e-320", "100"])
def test_row_86_the_extremes_of_temperature_still_choose(temperature: str, tiny_run: TinyRun, nima: Nima) -> None:
    flags = ("--prompt", "The", *FEW, "--json", "--temperature")
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, *flags, temperature)
    assert ran.code == 0
    if temperature != "100":
        greedy = nima("generate", "--checkpoint", tiny_run.run_dir, *flags, "0")
        assert ran.json()["completions"][0]["text"] == greedy.json()["completions"][0]["text"]


def test_row_87_prompts_that_are_hardly_any(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    checkpoint = ("--checkpoint", tiny_run.run_dir)
    assert "the prompt is empty" in refused(nima("generate", *checkpoint, "--prompt", ""), 2)
    assert "the prompt is empty" in refused(nima("generate", *checkpoint, "--prompt", "x", "--prompt", "-"), 2)
    assert "`--once` is empty" in refused(nima("chat", *checkpoint, "--once", " \n"), 2)
    spaces = nima("generate", *checkpoint, *FEW, "--prompt", " \t ")
    assert (spaces.code, spaces.stderr) == (0, "")
    assert spaces.stdout.startswith(" \t ")
    controls = nima("generate", *checkpoint, *FEW, "--prompt", "\x1b]0;x\x07\x01\x9b")
    assert controls.stdout.startswith("\\x1b]0;x\\x07\\x01\\x9b")
    (tmp_path / "huge.txt").write_text("a line of the prompt\n" * 100_000, encoding="utf-8")
    huge = nima("generate", *checkpoint, *FEW, "--prompt-file", tmp_path / "huge.txt")
    assert huge.code == 0
    assert "the prompt is longer than the context: its first " in huge.stderr


@pytest.mark.parametrize("text", ["<|assistant|>", "<|endoftext|><|eos|>", "a\x1bb", "[/b] [bold]", "\u202e"])
def test_row_88_whatever_it_spells_a_prompt_is_text(text: str, tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, *FEW, "--prompt", text, "--json")
    assert ran.json()["completions"][0]["prompt"] == text
    once = nima("chat", "--checkpoint", tiny_run.run_dir, *FEW, "--once", text)
    assert once.code == 0
    assert not set(ran.stdout + once.stdout) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("flags", [("generate", "--prompt"), ("chat", "--once"), ("chat", "--system")])
def test_row_88_bytes_that_are_no_text(flags: tuple[str, str], tiny_run: TinyRun, nima: Nima) -> None:
    command, flag = flags
    ran = nima(command, "--checkpoint", tiny_run.run_dir, flag, "caf\udce9", stdin=b"hello\n")
    assert "not valid UTF-8" in refused(ran, 2)


def test_row_89_a_line_of_a_megabyte_is_cut_to_its_end(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("chat", "--checkpoint", tiny_run.run_dir, *FEW, stdin=b"queue " * 2**18 + b"\nhi\n")
    assert ran.code == 0
    assert ran.stderr.count("warning: the message is longer than the context: its first ") == 1


def test_row_90_old_turns_leave_with_one_note_and_the_system_text_stays(
    tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    lines = "Tell me about the queue and the cache\n" * 8 + f"/stats\n/save {tmp_path / 'all.json'}\n"
    flags = ("--max-new-tokens", "6", "--system", "Brief.")
    ran = nima("chat", "--checkpoint", tiny_run.run_dir, *flags, stdin=lines.encode())
    assert ran.code == 0
    assert ran.stderr.count("from now on its oldest turns are left out") == 1
    assert " of 16 turns" in ran.stderr
    assert (tmp_path / "all.json").read_text("utf-8").count("Tell me about") == 8, "nothing is lost from the record"
    whole = nima("chat", "--checkpoint", tiny_run.run_dir, "--system", "Brief. " * 100, "--once", "hi")
    assert "of the 32 tokens of context" in refused(whole, 2)


def test_row_91_a_model_that_has_diverged_says_so(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    checkpoint = load(tiny_run.run_dir / "checkpoint_best.pt")
    for name, tensor in checkpoint.model.items():
        if name.endswith("norm.weight"):
            tensor.fill_(3e38)
    save(tmp_path / "wild.pt", checkpoint)
    for command in (("generate", "--prompt", "x"), ("chat", "--once", "x")):
        ran = nima(*command, "--checkpoint", tmp_path / "wild.pt")
        assert ran.code == 5
        assert "error: the model's predictions are not finite numbers" in ran.stderr
        assert "Traceback" not in ran.stderr
