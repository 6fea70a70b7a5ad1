"""Writes a Modelfile for Ollama; the format: https://docs.ollama.com/modelfile.

A GGUF file holds the chat format as a Jinja template, of which Ollama knows some by heart; its own templates are those
of Go's `text/template`. So a template is made anew from what the chat format renders: the texts before, between and
after turns. It is tried on longer conversations and left out if one of them comes out differently.
"""

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.export.places import MODELFILE_MARK
from nima_cli.engine.export.source import Source
from nima_cli.errors import NimaError

# Ollama takes memory for the whole context when it starts a model.
_MOST_CONTEXT = 8192
# Special tokens that are ordinary HTML, too; llama.cpp ends at the token itself.
_MARKUP = ("<s>", "</s>")
_NO_TEMPLATE = (
    "the Modelfile has no template: the chat format is not one text before each turn, which is all that is said there; "
    "Ollama looks for one that it knows in the GGUF file"
)


def modelfile(file_name: str, source: Source, vocabulary: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """The Modelfile beside a GGUF file with this vocabulary, and what could not be said; None if its name could not."""
    if '"' in file_name or not file_name.isprintable():
        return None, ["there is no Modelfile for Ollama, in which the name of the file could not be said"]
    tokenizer, notes = source.tokenizer, list[str]()
    lines = [
        MODELFILE_MARK,
        f'FROM "./{file_name}"' if " " in file_name else f"FROM ./{file_name}",
        f"PARAMETER num_ctx {min(source.shape.context_length, _MOST_CONTEXT)}",
        *(f'PARAMETER stop "{text}"' for text in _stops(tokenizer)),
    ]
    if source.pretrained is None and source.header.get("conversations") == 0:
        lines.append('TEMPLATE """{{ .Prompt }}"""')  # it learned from documents alone, and goes on with a text
    else:
        frames = frames_of(_Chat(tokenizer, vocabulary))
        lines += [f'TEMPLATE """{go_template(frames)}"""'] if frames is not None else []
        notes += [] if frames is not None else [_NO_TEMPLATE]
    return "\n".join(lines) + "\n", notes


def _stops(tokenizer: Tokenizer) -> Iterator[str]:
    """The texts of the symbols that end an answer."""
    for piece in map(tokenizer.piece, sorted(tokenizer.stop_ids)):
        if piece.isprintable() and '"' not in piece and piece not in _MARKUP:
            yield piece


@dataclass(frozen=True, slots=True)
class Frames:
    """The texts around the turns of a conversation.

    Attributes:
        first: before the user's first turn, if there is no system turn.
        answer, again: between a question and its answer, and between that and the next question.
        ask: after the last question, up to where the assistant begins to speak.
        system: before a system turn, which is the first, and between that and a question; None for a format without.
    """

    first: str
    answer: str
    again: str
    ask: str
    system: tuple[str, str] | None = None

    def render(self, turns: Sequence[Turn]) -> str:
        """A conversation that ends with a question."""
        before_system, after_system = self.system or ("", "")
        texts = {
            ("", "system"): before_system,
            ("", "user"): self.first,
            ("system", "user"): after_system,
            ("user", "assistant"): self.answer,
            ("assistant", "user"): self.again,
        }
        pairs = itertools.pairwise(["", *(turn.role for turn in turns)])
        return "".join(texts[pair] + turn.content for pair, turn in zip(pairs, turns, strict=True)) + self.ask


class _Chat:
    """A chat format as text, in which llama.cpp finds the special tokens again."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._spaced = vocabulary["add_space_prefix"]
        self._bos = tokenizer.piece(vocabulary["bos_token_id"]) if vocabulary["add_bos_token"] else ""

    def render(self, turns: Sequence[Turn]) -> str:
        """A conversation that ends with a question, up to where the assistant begins to speak.

        Only what follows the last question is from a prompt: in that, a template may say today's date.
        """
        chat, last = self._tokenizer.chat, turns[-1].content
        said, asked = (self._text(ids) for ids in (chat.render(turns, loss="all").ids, chat.prompt(turns)))
        return said[: said.rindex(last)] + asked[asked.rindex(last) :]

    def _text(self, ids: Sequence[int]) -> str:
        """The text of ids, without what llama.cpp puts before a text and after special tokens by itself."""
        own, text = self._tokenizer, ""
        for special, run in itertools.groupby(ids, own.special_ids.__contains__):
            if special:
                text += "".join(map(own.piece, run))
            else:
                plain = b"".join(map(own.token_bytes, run)).decode("utf-8", errors="replace")
                text += plain.removeprefix(" ") if self._spaced else plain
        return text.removeprefix(self._bos)


def frames_of(chat: _Chat) -> Frames | None:
    """The texts around turns, if every conversation is made of them."""
    system = [Turn("system", "xsystemx")]
    dialog = [Turn("assistant" if place % 2 else "user", f"xturn{place}x") for place in range(5)]
    plain = [dialog[:1], dialog[:3], dialog]
    try:
        first, answer, again, ask = _between(chat.render(plain[1]), plain[1])
        tried = [(turns, chat.render(turns)) for turns in plain]
    except (NimaError, ValueError):
        return None
    system_frames = None
    with contextlib.suppress(NimaError, ValueError):  # of a format without system turns
        before, after, _ = _between(chat.render(system + plain[0]), system + plain[0])
        tried += [(system + turns, chat.render(system + turns)) for turns in plain]
        system_frames = (before, after)
    frames = Frames(first, answer, again, ask, system_frames)
    return frames if all(frames.render(turns) == text for turns, text in tried) else None


def _between(text: str, turns: Sequence[Turn]) -> list[str]:
    """The texts before, between and after what these turns say; ValueError unless each says it once."""
    found = []
    for turn in turns:
        before, text = text.split(turn.content)
        found.append(before)
    return [*found, text]


def go_template(frames: Frames) -> str:
    """The same as a template of Go, where all text is in actions, and `{{-` takes line ends away."""
    lines = ['{{- $before := "" }}', "{{- range .Messages }}", '{{- if eq .Role "assistant" }}']
    lines[-1] += f"{_say(frames.answer)}{{{{ .Content }}}}{{{{ $before = .Role }}}}"
    if frames.system is not None:
        said = f"{_say(frames.system[0])}{{{{ .Content }}}}{{{{ $before = .Role }}}}"
        lines.append(f'{{{{- else if eq .Role "system" }}}}{said}')
    lines += ['{{- else if eq .Role "user" }}', f'{{{{- if eq $before "" }}}}{_say(frames.first)}']
    if frames.system is not None:
        lines.append(f'{{{{- else if eq $before "system" }}}}{_say(frames.system[1])}')
    lines.append(f"{{{{- else }}}}{_say(frames.again)}{{{{ end }}}}")
    lines += ["{{- .Content }}{{ $before = .Role }}", "{{- end }}", "{{- end }}"]
    return "\n".join([*lines, f'{{{{- if ne $before "assistant" }}}}{_say(frames.ask)}{{{{ end }}}}'])


def _say(text: str) -> str:
    """An action that writes a text; JSON's way to quote is one of Go's."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""
