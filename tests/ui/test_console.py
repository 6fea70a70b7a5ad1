"""The consoles: exact text, no control characters, no wrapping, no markup."""

import io
import json
import os
import subprocess
import sys
import unicodedata

import pytest

from nima_cli.ui.console import can_show, command, err, is_rich, out, safe_json, safe_text, say, say_error


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 🙂 [bold]\n\tcode", "plain é 日本 🙂 [bold]\n\tcode"),
        ("\x1b]52;c;AAAA\x07", "\\x1b]52;c;AAAA\\x07"),
        ("\r\x7f\x9b2J", "\\x0d\\x7f\\x9b2J"),
        ("a\u202eb\u2066c\u061cd\u2028e", "a\\u202eb\\u2066c\\u061cd\\u2028e"),
        ("\ud800", "\\ud800"),
    ],
)
def test_safe_text_shows_what_could_steer_a_terminal(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_safe_text_leaves_no_control_character_of_unicode() -> None:
    shown = set(safe_text("".join(map(chr, range(sys.maxunicode + 1)))))
    left = {char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")}
    overrides = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert left == {"\n", "\t"}
    assert not {char for char in shown if unicodedata.bidirectional(char) in overrides}


def test_safe_json_means_the_same() -> None:
    value = "a\x1b\x7f\x9b\u202e\u2028\ud800 é 日本 🙂"
    shown = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert safe_text(shown) == shown


def test_safe_text_needs_no_memory_of_earlier_pieces() -> None:
    text = "x\x1b[31m\u202ey\x9b"
    assert "".join(safe_text(piece) for piece in text) == safe_text(text)


@pytest.mark.parametrize(
    ("stream", "environ", "rich"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (None, {"TERM": "xterm"}, False),
    ],
)
def test_escape_codes_only_where_welcome(stream: io.StringIO | None, environ: dict[str, str], rich: bool) -> None:
    assert is_rich(stream, environ) is rich


def test_an_error_is_one_line_per_problem_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("a.yaml:3: bad [/x] :smile:\na.yaml:7: bad \x1b[31m", hint="fix `it`")
    said = capsys.readouterr()
    assert said.err == "error: a.yaml:3: bad [/x] :smile:\nerror: a.yaml:7: bad \\x1b[31m\nhint: fix `it`\n"
    assert said.out == ""


def test_long_lines_stay_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 200 + "end", "warning")
    assert capsys.readouterr().err == "warning: " + "word " * 200 + "end\n"


def test_a_pipe_gets_no_escape_code_even_when_colour_is_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out().print("data", style="bold red")
    err().print("talk", style="bold red")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("data\n", "talk\n")


def test_data_is_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    out().print("a[0] [bold]x[/y] :smile:")
    assert capsys.readouterr().out == "a[0] [bold]x[/y] :smile:\n"


def test_a_terminal_without_the_character_shows_its_code() -> None:
    code = "from nima_cli.ui.console import out; out().print('caf\\xe9')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True)
    assert done.stdout == b"caf\\xe9\n"


def test_a_command_line_to_copy_is_quoted_for_a_shell() -> None:
    assert command("nima", "train", "--data", "data/k8s") == "`nima train --data data/k8s`"
    assert command("nima", "chat", "my runs/a'b $x") == "`nima chat 'my runs/a'\"'\"'b $x'`"


def test_what_a_stream_can_show_is_what_its_encoding_has() -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("ascii", "cp1252", "utf-8")}
    assert {name: can_show("·", stream) for name, stream in streams.items()} == {
        "ascii": False, "cp1252": True, "utf-8": True,
    }  # fmt: skip
    assert not can_show("┤", streams["cp1252"])
    assert can_show("┤", io.StringIO())
