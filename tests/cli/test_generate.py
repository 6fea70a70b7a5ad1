"""`nima generate`: where prompts come from, what seeds promise, and what is refused."""

from pathlib import Path

import pytest

from nima_cli.ui.console import safe_text
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, contents, refused

# Hot enough that a seed matters, whatever so small a model happens to have learned.
SHORT = ("--max-new-tokens", "12", "--temperature", "3")


def completions(nima: Nima, tiny_run: TinyRun, *args: str | Path, stdin: bytes = b"") -> list[dict[str, object]]:
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, *SHORT, "--json", *args, stdin=stdin)
    assert ran.code == 0, ran.stderr
    found: list[dict[str, object]] = ran.json()["completions"]
    return found


def test_a_prompt_is_continued_on_stdout(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, *SHORT, "--prompt", "The queue")
    assert (ran.code, ran.stderr) == (0, "")
    (one,) = completions(nima, tiny_run, "--prompt", "The queue")
    assert ran.stdout == f"The queue{safe_text(str(one['text']))}\n"
    assert 0 < int(str(one["tokens"])) <= 12


def test_the_seed_decides_the_text(tiny_run: TinyRun, nima: Nima) -> None:
    texts = [completions(nima, tiny_run, "--prompt", "The", "--seed", seed)[0]["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_temperature_zero_is_greedy(tiny_run: TinyRun, nima: Nima) -> None:
    flags = ("--prompt", "The", "--temperature", "0", "--seed")
    first, second = (completions(nima, tiny_run, *flags, seed)[0]["text"] for seed in ("1", "2"))
    only = completions(nima, tiny_run, "--prompt", "The", "--top-k", "1", "--seed", "3")[0]["text"]
    assert first == second == only


def test_without_a_compiler_the_text_is_the_same(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = [
        nima("generate", "--checkpoint", tiny_run.run_dir, *SHORT[:2], "--temperature", "0", "--prompt", "The", env=env)
        for env in ({}, {"PATH": str(tmp_path)})
    ]
    assert [one.code for one in ran] == [0, 0]
    assert ran[0].stdout == ran[1].stdout


def test_one_flag_takes_several_prompts(tiny_run: TinyRun, nima: Nima) -> None:
    found = completions(nima, tiny_run, "--prompt", "one", "two", "--num-samples", "2", "--prompt", "three")
    assert [(one["prompt"], one["seed"]) for one in found] == [
        ("one", 0), ("one", 1), ("two", 0), ("two", 1), ("three", 0), ("three", 1),
    ]  # fmt: skip
    (alone,) = completions(nima, tiny_run, "--prompt", "two", "--seed", "1")
    assert found[3]["text"] == alone["text"]
    shown = nima("generate", "--checkpoint", tiny_run.run_dir, "--max-new-tokens", "2", "--prompt", "one", "two")
    assert shown.stdout.startswith("--- 1 of 2 (seed 0) ---\none")
    assert "\n--- 2 of 2 (seed 0) ---\ntwo" in shown.stdout


def test_company_changes_no_text(tiny_run: TinyRun, nima: Nima) -> None:
    """Prompts that begin alike and of several lengths, several samples, in both forms of output."""
    prompts = ["The", "The queue", "The queue delivers every message once", "x", "The"]
    together = completions(nima, tiny_run, "--prompt", *prompts, "--num-samples", "3", "--seed", "5")
    alone = [
        completions(nima, tiny_run, "--prompt", prompt, "--seed", str(seed))[0]
        for prompt in dict.fromkeys(prompts)
        for seed in (5, 6, 7)
    ]
    assert together == [*alone, *together[:3]]
    shown = nima("generate", "--checkpoint", tiny_run.run_dir, *SHORT, "--prompt", *prompts[:2], "--seed", "5")
    assert shown.stdout == "".join(
        f"--- {number} of 2 (seed 5) ---\n{one['prompt']}{safe_text(str(one['text']))}\n"
        for number, one in ((1, alone[0]), (2, alone[3]))
    )


def test_prompts_come_from_files_and_stdin(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    (named,) = completions(nima, tiny_run, "--prompt", "The gâteway")
    text = "The gâteway\n".encode()
    (tmp_path / "p [1].txt").write_bytes(text)
    assert completions(nima, tiny_run, "--prompt-file", tmp_path / "p [1].txt") == [named]
    assert completions(nima, tiny_run, "--prompt-file", "-", stdin=text) == [named]
    assert completions(nima, tiny_run, "--prompt", "-", stdin=text) == [named]


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_prompts_of_other_systems_are_those_with_line_feeds(tiny_run: TinyRun, nima: Nima, end: bytes) -> None:
    (named,) = completions(nima, tiny_run, "--prompt", "The\n\ngateway")
    text = b"The\n\ngateway\n".replace(b"\n", end)
    assert completions(nima, tiny_run, "--prompt-file", "-", stdin=text) == [named]


def test_stop_strings_end_the_text_before_them(tiny_run: TinyRun, nima: Nima) -> None:
    (free,) = completions(nima, tiny_run, "--prompt", "The")
    text = str(free["text"])
    stop = text[len(text) // 2 :][:2]
    (stopped,) = completions(nima, tiny_run, "--prompt", "The", "--stop", "never there", "--stop", stop)
    assert stopped["text"] == text[: text.index(stop)]
    assert stopped["finished"] is True


def test_the_filters_and_the_type_are_used(tiny_run: TinyRun, nima: Nima) -> None:
    base = ("--prompt", "The", "--temperature", "1.5", "--top-k", "0", "--top-p", "1", "--seed", "4")
    (free,) = completions(nima, tiny_run, *base)
    for flags in (("--top-p", "0.05"), ("--min-p", "0.9"), ("--repetition-penalty", "40"), ("--temperature", "0.1")):
        assert completions(nima, tiny_run, *base, *flags)[0]["text"] != free["text"]
    assert completions(nima, tiny_run, *base, "--top-k", "100000") == [free]
    assert len(completions(nima, tiny_run, *base, "--dtype", "bfloat16", "--device", "cpu")) == 1
    assert len(completions(nima, tiny_run, *base, "--dtype", "int8", "--device", "cpu")) == 1


def test_a_long_prompt_keeps_its_end_and_says_so(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, "--max-new-tokens", "4", "--prompt", "word " * 200)
    assert ran.code == 0
    assert "warning: the prompt is longer than the context: its first " in ran.stderr
    assert (
        "prompt 2 is longer"
        in nima(
            "generate", "--checkpoint", tiny_run.run_dir, "--max-new-tokens", "1", "--prompt", "x", "word " * 200
        ).stderr
    )
    (one,) = completions(nima, tiny_run, "--prompt", "word " * 200)
    assert int(str(one["prompt_tokens_dropped"])) > 100


def test_control_characters_are_shown_not_sent(tiny_run: TinyRun, nima: Nima) -> None:
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, "--max-new-tokens", "2", "--prompt", "a\x1b[31m\r[/b]")
    assert ran.code == 0
    assert ran.stdout.startswith("a\\x1b[31m\\x0d[/b]")
    (one,) = completions(nima, tiny_run, "--prompt", "<|assistant|><|endoftext|>")
    assert one["prompt"] == "<|assistant|><|endoftext|>"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--num-samples", "0"), "--num-samples"),
        (("--seed", "9223372036854775807", "--num-samples", "2"), "`seed`"),
        (("--dtype", "int9"), "--dtype"),
        (("--device", "tpu"), "--device"),
        (("--prompt-file", "missing.txt"), "missing.txt"),
    ],
)
def test_bad_input_is_one_line(
    flags: tuple[str, ...], said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    before = contents(tiny_run.run_dir)
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, "--prompt", "x", *flags, cwd=tmp_path)
    assert said in refused(ran, 2)
    assert contents(tiny_run.run_dir) == before
    assert list(tmp_path.iterdir()) == []


def test_no_prompt_at_all_and_bytes_that_are_no_text(tiny_run: TinyRun, nima: Nima) -> None:
    assert "no prompt was given" in refused(nima("generate", "--checkpoint", tiny_run.run_dir), 2)
    ran = nima("generate", "--checkpoint", tiny_run.run_dir, "--prompt-file", "-", stdin=b"abc\xff")
    assert "byte 3 is not UTF-8" in refused(ran, 2)
    assert "empty" in refused(nima("generate", "--checkpoint", tiny_run.run_dir, "--prompt-file", "-"), 2)


def test_a_missing_checkpoint_is_named(nima: Nima) -> None:
    assert "nothing.pt: no such checkpoint" in refused(
        nima("generate", "--checkpoint", "nothing.pt", "--prompt", "x"), 3
    )
