"""The prompt loop: plain lines in a pipe, line editing on a terminal, exact text and no escape codes from the model."""

import io
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nima_cli.errors import CheckpointError, InputError
from nima_cli.ui.chat_view import Command, chat_loop

if sys.platform != "win32":
    from tests.terminal import run_on_terminal


def echo(message: str) -> Iterator[str]:
    yield "you said "
    yield message


def forget(argument: str) -> str:
    """Forget the conversation."""
    return f"forgotten {argument}".strip()


def retry(argument: str) -> Iterator[str]:
    """Answer again."""
    return echo(f"again {argument}".strip())


COMMANDS: dict[str, Command] = {"/reset": forget, "/retry": retry}


def piped(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    chat_loop(echo, COMMANDS, history_file=None)


@pytest.mark.parametrize(
    ("typed", "answers", "talk"),
    [
        ("hello\n\n  \nagain", "you said hello\nyou said again\n", ""),
        ("", "", ""),
        ("/reset\n/reset all of it\n", "", "forgotten\nforgotten all of it\n"),
        ("/retry x\n", "you said again x\n", ""),
        ("a\n/exit\nb\n", "you said a\n", ""),
        ("a\n/quit\nb\n", "you said a\n", ""),
        ("a\nexit\nb\n", "you said a\n", "left the chat: `exit` alone leaves, as `/exit` does\n"),
        (" :q \nb\n", "", "left the chat: `:q` alone leaves, as `/exit` does\n"),
        ("Quit\nb\n", "", "left the chat: `Quit` alone leaves, as `/exit` does\n"),
        ("how do I exit\n", "you said how do I exit\n", ""),
        ("/etc/hosts is empty\n", "you said /etc/hosts is empty\n", ""),
        ("/nope x\n", "", "unknown command `/nope`; there are /reset /retry /help /exit\n"),
        (
            "/help\n",
            "",
            "/reset  Forget the conversation.\n/retry  Answer again.\n/help   Show this list.\n"
            "/exit   Leave, as Ctrl-D or the word `exit` alone does.\n",
        ),
    ],
)
def test_lines_of_a_pipe(
    typed: str, answers: str, talk: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped(typed, monkeypatch)
    said = capsys.readouterr()
    assert (said.out, said.err) == (answers, talk)


def test_answers_are_exact_but_for_control_characters_split_over_pieces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hostile(message: str) -> Iterator[str]:
        yield from ("[/b] a[0] :smile:\t", "\x1b", "]52;c;AA\x07", "\u202e", "é🙂\r\n", "\x9b2J")

    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    chat_loop(hostile, {}, history_file=None)
    assert capsys.readouterr().out == "[/b] a[0] :smile:\t\\x1b]52;c;AA\\x07\\u202eé🙂\\x0d\n\\x9b2J\n"


def test_a_failure_in_a_pipe_ends_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(message: str) -> Iterator[str]:
        yield "so far "
        raise CheckpointError("model: broken")

    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nb\n"))
    with pytest.raises(CheckpointError):
        chat_loop(failing, {}, history_file=None)


def test_an_answer_that_cannot_be_printed_stops_being_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    answers = [echo("x")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("x\n"))
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        chat_loop(lambda message: answers[0], {}, history_file=None)
    assert list(answers[0]) == []


def test_bytes_that_are_not_utf8_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"good\nbad \xff\n"), encoding="utf-8"))
    with pytest.raises(InputError, match="not valid UTF-8"):
        chat_loop(echo, {}, history_file=None)


def test_a_line_of_a_megabyte_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    piped("x" * 2**20 + "\n", monkeypatch)
    assert len(capsys.readouterr().out) == len("you said \n") + 2**20


CHAT = """
import time
from pathlib import Path
from nima_cli.errors import CheckpointError
from nima_cli.ui.chat_view import chat_loop

def answer(message):
    if message == "fail":
        raise CheckpointError("model: broken", hint="train it")
    try:
        yield f"heard {message!r} \\x1b]52;c;AA\\x07. "
        while message == "endless":
            time.sleep(0.01)
            yield ". "
    finally:
        print(f"closed after {message!r}")

def reset(argument):
    return "forgotten"

def save(argument):
    return f"saved {argument!r}"

def set_one(argument):
    return f"set {argument!r}"

chat_loop(answer, {"/reset": reset, "/save": save, "/set": set_one}, arguments={"/save": None, "/set": ("warmth=",)},
          history_file=HISTORY)
print("left the loop")
"""


def test_closed_stdin_leaves_at_once() -> None:
    command = [sys.executable, "-c", CHAT.replace("HISTORY", "None")]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left the loop\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal(tmp_path: Path) -> None:
    history = tmp_path / "deep" / "history"
    (tmp_path / "notes [1].json").touch()
    status, output = run_on_terminal(
        CHAT.replace("HISTORY", f"Path({str(history)!r})"),
        keys=[
            ("> ", b"first\x1b\rsecond\r"),  # Alt-Enter between the two
            ("closed after 'first", b""),
            ("> ", b"endless\r"),
            ("heard 'endless'", b"\x03"),
            ("(stopped)", b""),
            ("> ", b"fail\r"),
            ("hint: ", b""),
            ("> ", b"half a line\x03"),
            ("> ", b"/res"),
            ("/reset", b"\t"),
            ("/reset", b"\r"),
            ("forgotten", b""),
            ("> ", f"/save {tmp_path}/not".encode()),
            ("es [1].json", b"\t"),
            ("es [1].json", b"\r"),
            ("saved '", b""),
            ("> ", b"/set w"),
            ("warmth=", b"\t"),
            ("warmth=", b"9\r"),
            ("set 'warmth=9'", b""),
            ("> ", b"first \\\rsecond\r"),  # Enter after a backslash
            ("heard 'first \\nsecond'", b""),
            ("> ", b"\x04"),
        ],
    )
    assert status == 0
    assert "heard 'first\\nsecond' \\x1b]52;c;AA\\x07." in output
    assert "\x1b]52" not in output
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    assert "closed after 'endless'" in plain
    assert "error: model: broken" in plain
    assert "hint: train it" in plain
    assert plain.rstrip().endswith("left the loop")
    remembered = [line for line in history.read_text("utf-8").splitlines() if line.startswith("+")]
    saved = f"+/save {tmp_path}/notes [1].json"
    assert remembered == [
        "+first", "+second", "+endless", "+fail", "+/reset", saved, "+/set warmth=9", "+first ", "+second",
    ]  # fmt: skip
    assert f"saved '{tmp_path}/notes [1].json'" in plain
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_history_that_cannot_be_kept_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    path = tmp_path / "file" / "history"
    status, output = run_on_terminal(CHAT.replace("HISTORY", f"Path({str(path)!r})"), keys=[("> ", b"\x04")])
    assert status == 0
    assert "messages are not remembered" in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_on_a_terminal_that_wants_no_escape_codes_there_are_none(env: dict[str, str]) -> None:
    status, output = run_on_terminal(
        CHAT.replace("HISTORY", "None"),
        keys=[
            ("> ", b"hello\n"),
            ("closed", b""),
            ("> ", b"endless\n"),
            ("heard 'endless'", b"\x03"),
            ("(stopped)", b""),
            ("> ", b"half a line\x03"),
            ("> ", b"fail\n"),
            ("hint: ", b""),
            ("> ", b"caf\xe9\n"),
            ("not valid UTF-8", b""),
            ("> ", b"\x04"),
        ],
        env=env,
    )
    assert status == 0
    assert "heard 'hello'" in output
    assert "Alt-Enter" not in output, "there is no line editing here"
    assert "left the loop" in output
    assert "\x1b" not in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_what_is_pasted_steers_nothing_and_is_sent_as_it_is(tmp_path: Path) -> None:
    """Bracketed paste: control characters, text that turns lines around, and bytes that are no text."""
    status, output = run_on_terminal(
        CHAT.replace("HISTORY", f"Path({str(tmp_path / 'history')!r})"),
        keys=[
            ("> ", b"\x1b[200~a\x1b]0;t\x07b\xc2\x9bc\xe2\x80\xaed\x1b[201~\r"),
            ("closed after", b""),
            ("> ", b"caf\xe9\r"),
            ("not valid UTF-8", b""),
            ("> ", b"\x04"),
        ],
    )
    assert status == 0, output
    assert "heard 'a\\x1b]0;t\\x07b\\x9bc\\u202ed'" in output
    assert not set(output) & {"\x07", "\x9b", "\u202e"}
    assert "\x1b]" not in output
    assert "Traceback" not in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_markdown_is_formatted_on_a_terminal_and_stays_harmless() -> None:
    text = "# Title\n\nUse `kubectl <name>` and **bold**\nnow.\n\n```yaml\na:\n\n  b: 1\n```\n1. one\n\n"
    text += "&#27;]52;c;AA &#8238; &#13; \x1b[2J"
    code = (
        "from nima_cli.ui.answer_view import show_answer\n"
        f"pieces = iter([{text!r}[at:at + 3] for at in range(0, {len(text)}, 3)])\n"
        "show_answer(pieces, markdown=True)"
    )
    status, output = run_on_terminal(code)
    assert status == 0, output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert "\x1b" not in plain
    assert "Use kubectl <name> and bold" in plain
    assert "`" not in plain
    assert "]52;c;AA \\u202e  \\x1b[2J" in plain
    assert re.search(r"a: +\r\n +\r\n +b: 1", plain), "an empty line does not end a fence"
    assert "**bold**" in run_on_terminal(code, env={"NO_COLOR": "1"})[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_of_a_few_columns_is_enough() -> None:
    """The prompt, an answer and the completion menu in 6 rows of 10."""
    shrink = "import fcntl, struct, termios\nfcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 6, 10, 0, 0))\n"
    status, output = run_on_terminal(
        shrink + CHAT.replace("HISTORY", "None"),
        keys=[
            ("> ", b"first and a long line\r"),
            ("closed", b""),
            ("> ", b"/re"),
            ("s", b"\t\r"),
            ("forg", b""),
            ("> ", b"\x04"),
        ],
    )
    assert status == 0, output
    assert "Traceback" not in output
