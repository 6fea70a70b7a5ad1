"""Answers on a terminal: no word is broken, and elsewhere the text is exact."""

import io
import sys

import pytest

from nima_cli.ui.answer_view import show_answer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(text: str, size: int, monkeypatch: pytest.MonkeyPatch, *, stream: io.StringIO | None = None) -> str:
    """What is on a stream of 20 columns after an answer that comes in pieces of `size` characters."""
    stream = Terminal() if stream is None else stream
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys, "stdout", stream)
    show_answer(text[at : at + size] for at in range(0, len(text), size))
    return stream.getvalue()


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a pod is the smallest thing that runs", ["a pod is the", "smallest thing that", "runs"]),
        ("exactly twenty chars and more", ["exactly twenty chars", "and more"]),
        ("one\n\n  two\tthree", ["one", "", "  two    three"]),
        ("```\n    indented code stays\n```", ["```", "    indented code", "stays", "```"]),
        ("x" * 45 + " end", ["x" * 45 + " end"]),  # the terminal breaks it
        ("日本語の文章は空白なしで続く", ["日本語の文章は空白な", "しで続く"]),
        ("trailing space ", ["trailing space"]),
        ("", [""]),
    ],
)
def test_words_are_whole_on_a_terminal(text: str, lines: list[str], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(text, size, monkeypatch).removesuffix("\n").split("\n") == lines


def test_in_a_pipe_the_text_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a pod is the smallest thing that runs \t\n  in a cluster "
    assert shown(text, 5, monkeypatch, stream=io.StringIO()) == text + "\n"


def test_a_word_is_shown_when_its_end_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, seen = Terminal(), []

    def pieces() -> "list[str]":
        return ["a cl", "uster", " of", " "]

    def watched() -> object:
        for piece in pieces():
            yield piece
            seen.append(stream.getvalue())

    monkeypatch.setattr(sys, "stdout", stream)
    show_answer(watched())  # type: ignore[arg-type]
    assert seen == ["a", "a", "a cluster", "a cluster of"]
