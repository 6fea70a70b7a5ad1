"""The Modelfile: what Ollama's template renders is what the chat format does, and an answer ends where it should."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nima_cli.engine.checkpoint.file import Checkpoint, save
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.load import tokenizer_from_bytes
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from tests.engine.export.conftest import TUNED, export, tuned_files

pytest.importorskip("gguf")

Make = Callable[..., tuple[Path, Checkpoint]]
QUESTIONS = [
    Turn("user", 'What is a "pod"?\nAnd {{ .X }}?'),
    Turn("assistant", "A {{ thing }}."),
    Turn("user", "Größe 東京"),
    Turn("assistant", "b"),
    Turn("user", "c"),
]
SYSTEM = Turn("system", "Be brief.")


def go(template: str, messages: Sequence[Turn]) -> str:
    """What Go's text/template makes of the part of its language that is used: range, if, eq, ne, strings, `=`."""
    parts = re.split(r"\{\{(-?)\s*(.*?)\s*\}\}", template)
    trimmed = [
        text.rstrip() if mark == "-" else text for text, mark in zip(parts[::3], [*parts[1::3], ""], strict=True)
    ]
    steps = iter([step for pair in zip(trimmed, [*parts[2::3], ""], strict=True) for step in pair])
    return _block(list(_tree(steps)), {"Messages": messages}, {})


def _tree(steps: Iterator[str]) -> Iterator[Any]:
    """Texts at even places, actions at odd ones, blocks as lists of branches."""
    for text in steps:
        yield text
        action = next(steps)
        if action.startswith(("range", "if")):
            branches = [(action, list(_tree(steps)))]
            while branches[-1][1][-1] != "end":
                branches.append((branches[-1][1].pop(), list(_tree(steps))))
            branches[-1][1].pop()
            yield branches
        else:
            yield action
            if action == "end" or action.startswith("else"):
                return


def _block(tree: Sequence[Any], dot: Mapping[str, Any], names: dict[str, str]) -> str:
    out = ""
    for place, step in enumerate(tree):
        if place % 2 == 0:
            out += step
        elif isinstance(step, str):
            out += _action(step, dot, names)
        elif step[0][0] == "range .Messages":
            for turn in dot["Messages"]:
                out += _block(step[0][1], {"Role": turn.role, "Content": turn.content}, names)
        else:
            chosen: Any = next((body for test, body in step if _holds(test, dot, names)), [])
            out += _block(chosen, dot, names)
    return out


def _action(step: str, dot: Mapping[str, Any], names: dict[str, str]) -> str:
    assigned = re.fullmatch(r"(\$\w+) :?= (\S+)", step)
    if assigned:
        names[assigned[1]] = _value(assigned[2], dot, names)
    return "" if assigned or not step else _value(step, dot, names)


def _value(word: str, dot: Mapping[str, Any], names: Mapping[str, str]) -> str:
    found: str = json.loads(word) if word[0] == '"' else names[word] if word[0] == "$" else dot[word[1:]]
    return found


def _holds(test: str, dot: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    if test == "else":
        return True
    kind, one, other = test.removeprefix("else ").removeprefix("if ").split(" ")
    return (_value(one, dot, names) == _value(other, dot, names)) == {"eq": True, "ne": False}[kind]


def modelfile(path: Path, tmp_path: Path) -> tuple[str, dict[str, list[str]]]:
    """The template of a checkpoint's Modelfile, empty without one, and its parameters."""
    export(path, tmp_path / "m.gguf", "gguf")
    text = (tmp_path / "m.gguf.Modelfile").read_text("utf-8")
    assert text.startswith("# written by nima export\nFROM ./m.gguf\n")
    parameters: dict[str, list[str]] = {}
    for name, value in re.findall(r"^PARAMETER (\w+) (.*)$", text, re.MULTILINE):
        parameters.setdefault(name, []).append(value)
    template = re.search(r'^TEMPLATE """(.*)"""\n\Z', text, re.MULTILINE | re.DOTALL)
    return template[1] if template else "", parameters


def expected(turns: Sequence[Turn], tokenizer: Tokenizer, *, adds_bos: bool, spaced: bool) -> str:
    """The chat format's own text, without what llama.cpp puts in front and after special tokens by itself."""
    ids = tokenizer.chat.render(turns, loss="all").ids
    text, after_special = "", True
    for token_id in ids:
        special = token_id in tokenizer.special_ids
        piece = tokenizer.piece(token_id) if special else tokenizer.token_bytes(token_id).decode("latin-1")
        text += piece.removeprefix(" ") if spaced and after_special and not special else piece
        after_special = special
    bos = tokenizer.piece(ids[0])
    return text.removeprefix(bos) if adds_bos else text


@pytest.mark.parametrize("with_system", [False, True])
@pytest.mark.parametrize("name", TUNED)
def test_the_template_renders_what_the_chat_format_does(
    name: str, with_system: bool, tuned: Make, tmp_path: Path
) -> None:
    path, checkpoint = tuned(name)
    template, _ = modelfile(path, tmp_path)
    own = tokenizer_from_bytes(checkpoint.tokenizer_proto, where="test")
    how = {"adds_bos": name not in ("llama", "qwen2", "qwen3"), "spaced": name.startswith("mistral")}
    for count in (1, 3, 5):
        turns = [*([SYSTEM] if with_system else []), *QUESTIONS[:count]]
        whole = expected(turns, own, **how)
        rendered = go(template, turns).encode().decode("latin-1")
        last = turns[-1].content.encode().decode("latin-1")
        said, asked = rendered.rsplit(last, 1)
        assert said == whole.rsplit(last, 1)[0]
        prompt = "".join(map(own.piece, own.chat.prompt(turns)))
        assert prompt.endswith(asked)
        assert asked


def test_the_template_of_nimas_own_format(
    saved: Make, tokenizers: dict[str, SentencePieceTokenizer], tmp_path: Path
) -> None:
    template, parameters = modelfile(saved()[0], tmp_path)
    assert go(template, QUESTIONS[2:3]) == "<|user|>Größe 東京<|end|><|assistant|>"
    assert go(template, [SYSTEM, *QUESTIONS[:3]]) == (
        "<|system|>Be brief.<|end|><|user|>What is a \"pod\"?\nAnd {{ .X }}?<|end|><|assistant|>A {{ thing }}.<|end|>"
        "<|user|>Größe 東京<|end|><|assistant|>"
    )  # fmt: skip
    pieces = {tokenizers["bpe"].piece(token_id) for token_id in tokenizers["bpe"].stop_ids}
    assert {json.loads(stop) for stop in parameters["stop"]} == pieces
    assert parameters["num_ctx"] == ["64"]


def test_an_answer_that_is_begun_is_gone_on_with(saved: Make, tmp_path: Path) -> None:
    template, _ = modelfile(saved()[0], tmp_path)
    assert go(template, QUESTIONS[2:4]) == "<|user|>Größe 東京<|end|><|assistant|>b"


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("llama", {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}),
        ("llama 3", {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}),
        ("mistral", set()),  # `<s>` and `</s>` are HTML, too
    ],
)
def test_stop_strings_are_the_symbols_that_end_an_answer(
    name: str, stops: set[str], tuned: Make, tmp_path: Path
) -> None:
    _, parameters = modelfile(tuned(name)[0], tmp_path)
    assert {json.loads(stop) for stop in parameters.get("stop", [])} == stops


def test_a_model_of_documents_alone_goes_on_with_a_text(saved: Make, tmp_path: Path) -> None:
    _, checkpoint = saved()
    for conversations in (0, 3):
        checkpoint.header["conversations"] = conversations
        save(tmp_path / "c.pt", checkpoint)
        template, _ = modelfile(tmp_path / "c.pt", tmp_path)
        assert (template == "{{ .Prompt }}") == (conversations == 0)


COUNTING = "{% for m in messages %}{{ loop.index }} {{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}>"
SHOUTING = "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}<|im_end|>\n{% endfor %}>"


@pytest.mark.parametrize("template", [COUNTING, SHOUTING])
def test_a_format_that_go_cannot_say_is_left_out_and_said(template: str, tuned: Make, tmp_path: Path) -> None:
    path, _ = tuned("llama", tuned_files("llama") | {"chat_template.jinja": template})
    exported = export(path, tmp_path / "m.gguf", "gguf")
    assert "TEMPLATE" not in (tmp_path / "m.gguf.Modelfile").read_text("utf-8")
    assert any("the Modelfile has no template" in note for note in exported.notes)


@pytest.mark.parametrize(
    ("name", "line"), [("a b.gguf", 'FROM "./a b.gguf"'), ('a".gguf', None), ("a\nSYSTEM x.gguf", None)]
)
def test_a_file_name_is_quoted_or_left_out(name: str, line: str | None, saved: Make, tmp_path: Path) -> None:
    exported = export(saved()[0], tmp_path / name, "gguf")
    assert {file.name for file in exported.files} == {file.name for file in tmp_path.iterdir()}
    beside = tmp_path / f"{name}.Modelfile"
    assert (line is None) == (not beside.exists()) == any("no Modelfile" in note for note in exported.notes)
    assert line is None or line in beside.read_text("utf-8").split("\n")
