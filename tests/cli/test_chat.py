"""`nima chat`: turns from stdin and from a terminal, its commands, and what it refuses."""

import json
import sys
from pathlib import Path

import pytest

from nima_cli.ui.console import safe_text
from tests.cli.conftest import TinyRun
from tests.cli.programs import Nima, refused
from tests.conftest import Ran

if sys.platform != "win32":
    from tests.terminal import run_on_terminal

# So hot that the seed decides, not what so small a model happens to have learned.
SHORT = ("--max-new-tokens", "6", "--temperature", "100", "--top-k", "0", "--top-p", "1")


def chat(nima: Nima, tiny_run: TinyRun, *lines: str, flags: tuple[str | Path, ...] = ()) -> Ran:
    stdin = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return nima("chat", "--checkpoint", tiny_run.run_dir, *SHORT, *flags, stdin=stdin)


def messages_of(
    nima: Nima, tiny_run: TinyRun, path: Path, *lines: str, flags: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """The messages of a conversation, as /save writes them to `path`."""
    ran = chat(nima, tiny_run, *lines, f"/save! {path}", flags=flags)
    assert ran.code == 0, ran.stderr
    messages: list[dict[str, str]] = json.loads(path.read_text("utf-8"))[0]["messages"]
    return messages


def test_each_line_is_a_turn_and_stdout_holds_the_answers(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    saved = tmp_path / "saved [1].json"
    ran = chat(nima, tiny_run, "What is a queue?", "", "And a cache?", f"/save {saved}")
    assert ran.code == 0, ran.stderr
    messages = json.loads(saved.read_text("utf-8"))[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert [messages[0]["content"], messages[2]["content"]] == ["What is a queue?", "And a cache?"]
    assert ran.stdout == safe_text(f"{messages[1]['content']}\n{messages[3]['content']}\n")
    assert f"saved to {saved}" in ran.stderr


def test_once_answers_one_message(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    once = chat(nima, tiny_run, flags=("--once", "What is a queue?", "--seed", "3"))
    assert once.code == 0
    asked = messages_of(nima, tiny_run, tmp_path / "s.json", "What is a queue?", flags=("--seed", "3"))
    assert once.stdout == safe_text(asked[1]["content"]) + "\n"


def test_closed_stdin_ends_quietly(tiny_run: TinyRun, nima: Nima) -> None:
    ran = chat(nima, tiny_run)
    assert (ran.code, ran.stdout) == (0, "")


def test_exit_leaves_before_the_next_line(tiny_run: TinyRun, nima: Nima) -> None:
    ran = chat(nima, tiny_run, "/exit", "What is a queue?")
    assert (ran.code, ran.stdout) == (0, "")


def test_system_set_and_stats(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    ran = chat(
        nima, tiny_run, "/system", "/system Be brief.", "/set", "/set temperature=0.25", "/set top_k 7",
        "/set max_new_tokens=3", "hello", "/stats", f"/save {tmp_path / 's.json'}",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert "system: (none)" in lines
    assert "system: Be brief." in lines
    shown = [line for line in lines if line.startswith("temperature=")]
    assert "temperature=100.0" in shown[0]
    assert "top_k=0" in shown[0]
    assert "temperature=0.25" in shown[-1]
    assert "top_k=7" in shown[-1]
    assert "max_new_tokens=3" in shown[-1]
    assert any(" of 32 tokens of context, " in line and "tokens/s" in line for line in lines)
    messages = json.loads((tmp_path / "s.json").read_text("utf-8"))[0]["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}


def test_the_same_seed_gives_the_same_answer(tiny_run: TinyRun, nima: Nima) -> None:
    plain = chat(nima, tiny_run, "hello").stdout
    assert plain.strip()
    assert chat(nima, tiny_run, "hello").stdout == plain
    other = chat(nima, tiny_run, "/set seed=9", "hello").stdout
    assert other != plain
    assert chat(nima, tiny_run, "hello", flags=("--seed", "9")).stdout == other


def test_the_system_text_stands_before_every_turn(tiny_run: TinyRun, nima: Nima) -> None:
    def used(*said: str, flags: tuple[str, ...] = ()) -> str:
        lines = chat(nima, tiny_run, *said, "/stats", flags=flags).stderr.splitlines()
        (line,) = [line for line in lines if "of 32" in line]
        return line

    assert used() == used("/system") == used("/system cache", "/system -") == "4 of 32 tokens of context, 0 turns"
    assert used(flags=("--system", "cache")) == used("/system cache") != used()


def test_undo_retry_and_reset(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    taken_back = messages_of(nima, tiny_run, path, "first", "second", "/undo")
    assert [message["content"] for message in taken_back[::2]] == ["first"]
    once = messages_of(nima, tiny_run, path, "first")
    again = messages_of(nima, tiny_run, path, "first", "/retry")
    assert again[0] == once[0]
    assert len(again) == 2
    assert again[1] != once[1]
    assert messages_of(nima, tiny_run, path, "first", "/reset") == []
    assert "nothing to take back" in chat(nima, tiny_run, "/undo").stderr
    assert "nothing to retry" in refused(chat(nima, tiny_run, "/retry"), 2)


def test_a_saved_conversation_is_gone_on_with(tiny_run: TinyRun, nima: Nima, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    first = messages_of(nima, tiny_run, path, "one", flags=("--system", "Brief."))
    both = messages_of(nima, tiny_run, tmp_path / "both.json", f"/load {path}", "two")
    assert both[:3] == first
    assert both[3]["content"] == "two"


def test_saving_replaces_no_file_unless_it_is_this_conversation_or_asked_for(
    tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    kept = tmp_path / "kept talk.json"
    first = chat(nima, tiny_run, "one", f"/save {kept}", "two", f"/save {kept}")
    assert first.code == 0
    assert f"saved to {kept}" in first.stderr
    assert f"replaced {kept}" in first.stderr
    assert f"--json-files '{kept}'" in first.stderr
    before = kept.read_bytes()
    ran = chat(nima, tiny_run, "three", f"/save {kept}")
    assert f"{kept}: exists" in refused_after_an_answer(ran)
    assert f"hint: `/save! {kept}` replaces it" in ran.stderr
    assert kept.read_bytes() == before
    assert chat(nima, tiny_run, f"/load {kept}", "three", f"/save {kept}").code == 0
    assert len(json.loads(kept.read_text("utf-8"))[0]["messages"]) == 6
    assert chat(nima, tiny_run, "four", f"/save! {kept}").code == 0
    assert len(json.loads(kept.read_text("utf-8"))[0]["messages"]) == 2


def refused_after_an_answer(ran: Ran) -> str:
    """The error line of a chat that a command ended."""
    assert ran.code == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_saved_conversation_is_data(tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path) -> None:
    messages_of(nima, tiny_run, tmp_path / "kept.json", "What does the queue do?", "And why?")
    files = ("--json-files", tmp_path / "kept.json", tiny_corpus / "qa.json", "--min-length", "1")
    result = nima("data", "prepare", "--output-dir", tmp_path / "d", *files, "--json")
    assert result.code == 0, result.stderr
    assert result.json()["documents"] == 33


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/set warmth=1", "warmth=1"),
        ("/set temperature=hot", "hot"),
        ("/set temperature=-1", "temperature"),
        ("/set max_new_tokens=0", "max_new_tokens"),
        ("/save", "/save"),
        ("/load", "/load"),
        ("/load nowhere.json", "nowhere.json"),
        ("caf\udce9", "not valid UTF-8"),
    ],
)
def test_a_bad_line_ends_a_pipe_with_one_line(
    line: str, said: str, tiny_run: TinyRun, nima: Nima, tmp_path: Path
) -> None:
    stdin = f"{line}\nhello\n".encode("utf-8", "surrogateescape")
    ran = nima("chat", "--checkpoint", tiny_run.run_dir, *SHORT, stdin=stdin, cwd=tmp_path)
    assert said in refused(ran, 2)


def test_an_unknown_command_is_answered_with_the_list(tiny_run: TinyRun, nima: Nima) -> None:
    ran = chat(nima, tiny_run, "/nonsense", "/help")
    assert ran.code == 0
    assert "unknown command `/nonsense`" in ran.stderr
    for name in ("/help", "/reset", "/retry", "/undo", "/system", "/set", "/stats", "/save", "/load", "/exit"):
        assert any(line.startswith(f"{name} ") for line in ran.stderr.splitlines())


def test_a_model_without_conversations_says_what_to_expect(
    tiny_run: TinyRun, tiny_corpus: Path, nima: Nima, tmp_path: Path
) -> None:
    assert "has seen no questions" not in chat(nima, tiny_run, "/exit").stderr
    files = sorted(tiny_corpus.glob("*.md"))
    assert nima("data", "prepare", "--output-dir", tmp_path / "d", "--text-files", *files).code == 0
    ran = nima(
        "train", "-c", tiny_run.config, "--data", tmp_path / "d", "--output-dir", tmp_path / "run", "--max-steps", "1",
        "--quiet",
    )  # fmt: skip
    assert ran.code == 0, ran.stderr
    told = nima("chat", "--checkpoint", tmp_path / "run", "--once", "hi", *SHORT)
    assert told.stderr.count("this model has seen no questions and answers") == 1
    assert "hint: to change that, prepare Q&A or chats" in told.stderr
    assert "warning" not in nima("chat", "--checkpoint", tmp_path / "run", "--once", "hi", *SHORT, "--quiet").stderr
    continued = nima("generate", "--checkpoint", tmp_path / "run", "--prompt", "hi", *SHORT)
    assert continued.stdout == "hi" + told.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_two_turns_on_a_terminal(tiny_run: TinyRun, tmp_path: Path) -> None:
    """Ctrl-C stops an answer, and what it said until then stays."""
    saved = tmp_path / "talk.json"
    argv = ["nima", "chat", "--checkpoint", str(tiny_run.run_dir), *SHORT]
    code = f"import sys\nsys.argv = {argv!r}\nfrom nima_cli.cli.app import main\nmain()"
    env = {"NIMA_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    keys = [
        ("Ctrl-D leaves", b""),
        ("> ", b"first question\r"),
        ("first question", b""),
        ("> ", b"/set max_new_tokens=100000000\r"),
        ("max_new_tokens=100000000", b""),
        ("> ", b"/set repetition_penalty=0.01\r"),  # what was said is said again, and no end comes
        ("repetition_penalty=0.01", b""),
        ("> ", b"/set temperature=0.01\r"),
        ("temperature=0.01", b""),
        ("> ", b"second question\r"),
        ("second question", b""),
        ("are left out", b"\x03"),  # the answer has begun: before, the line editor may still hold the terminal
        ("(stopped)", b""),
        ("> ", f"/save {saved}\r".encode()),
        ("saved to", b""),
        ("> ", b"\x04"),
    ]
    status, shown = run_on_terminal(code, keys=keys, env=env, timeout=60)
    assert status == 0, shown
    messages = json.loads(saved.read_text("utf-8"))[0]["messages"]
    assert [message["content"] for message in messages[::2]] == ["first question", "second question"]
    assert "parameters, 32 tokens of context" in shown
    assert "Traceback" not in shown
    history = (tmp_path / "home" / "chat_history").read_text("utf-8")
    assert "+first question" in history
