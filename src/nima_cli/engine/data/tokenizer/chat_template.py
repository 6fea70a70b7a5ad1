"""The chat format of a pretrained model: its own Jinja template, with special tokens that only the template can write.

Before a template sees what a turn says, whatever spells a special token there is broken by a noncharacter. So the
special tokens in what it renders are its own; these get the names that the tokenizer's native library knows, and the
noncharacters are taken out again. All of it is then encoded at once, as `transformers` does.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, pairwise, takewhile
from typing import Any, Protocol

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf_file import END_MARK, GUARD, MARK, mark
from nima_cli.engine.data.tokenizer.protocol import LOSSY, REFUSED, Encode, Loss, Sample, UnencodableError
from nima_cli.engine.packages import needed
from nima_cli.errors import CheckpointError, DataError

# For models without a template: that of models which know the symbols of ChatML, and turns as plain text.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PLAIN = (
    "{{ document_begin }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'Assistant:\\n' + message['content'] + document_end + '\\n\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)

# The day that templates are told in preparing data, so that it does not depend on when that is done: the one that the
# template of Llama 3.1 takes where it is told none.
_DAY = datetime(2024, 7, 26)
_MARKED = re.compile(f"{MARK}(\\d+){END_MARK}")
# What comes before it, templates of models that think leave out of earlier turns.
_END_OF_THOUGHT = "</think>"
_LOST = "the tokenizer of this model does not give the text back unchanged"


class _Native(Protocol):
    """What a template needs of its tokenizer."""

    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def leading_space(self) -> str: ...

    def encode_marked(self, text: str) -> list[int]: ...
    def token_bytes(self, token_id: int) -> bytes: ...


class TemplateChat:
    """A `ChatFormat` made of a template.

    Attributes:
        name: of the template, for messages.
        end_ids: end the assistant's turn.
        begin_ids: other special tokens of a prompt.
    """

    def __init__(
        self,
        tokenizer: _Native,
        source: str,
        name: str,
        special: Mapping[str, int],
        variables: Mapping[str, str],
        end_ids: frozenset[int],
    ) -> None:
        """Take a template, which `check` then compiles.

        Args:
            special: ids by content.
            variables: of the template, beside the messages.
            end_ids: that are known to end turns.
        """
        self.name = name
        self._tokenizer, self._source, self._variables = tokenizer, source, variables
        self._special = special
        words = sorted((word for word in special if len(word) > 1), key=len, reverse=True)
        spelled = "|".join(map(re.escape, words)) or "(?!)"
        self._spelled = re.compile(spelled)
        self._begins = re.compile(f"(?={spelled}).", re.DOTALL)
        self._heads = frozenset(word[:size] for word in words for size in range(1, len(word)))
        self._tails = frozenset(word[size:] for word in words for size in range(1, len(word)))
        self._known_end_ids = end_ids

    def check(self, where: str) -> None:
        """Raise `CheckpointError` if the template cannot be read, `ResourceError` without jinja2."""
        jinja2 = needed("jinja2", extra="pretrained", what="the chat templates of pretrained models")
        try:
            _ = self._template
        except (jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise CheckpointError(
                f"{where}: its chat template ({self.name}) cannot be used: {_one_line(error)}",
                hint="download the model again, or choose one of `nima models list`",
            ) from error

    @functools.cached_property
    def _template(self) -> Any:
        from nima_cli.engine.data.tokenizer.template_sandbox import compile_template

        return compile_template(self._source)

    def render(self, turns: Sequence[Turn], *, loss: Loss, encode: Encode | None = None) -> Sample:
        """A whole conversation as a sample; see `ChatFormat.render`.

        Raises:
            UnencodableError: the template refuses these turns, or the tokenizer changes their text.
            DataError: the template does not show where the assistant's turns begin and end.
        """
        turns = self._mapped(turns)
        text = self._text(turns, prompting=False)
        ids = self._ids(text, encode)
        offsets = self._offsets(text, ids)
        if loss == "all" and all(turn.weight for turn in turns):
            return Sample(ids, [False] + [True] * (len(ids) - 1))
        stretches = [(len(text[:end].encode()), learnt) for end, learnt in self._stretches(turns, text, loss)]
        return Sample(ids, _mask(offsets, stretches))

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The ids up to where the assistant begins to speak."""
        return self._ids(self._text(self._mapped(turns), prompting=True, now=datetime.now()), None)

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """See the class."""
        said = "y"
        text = self._probe([Turn("user", "x"), Turn("assistant", said)], prompting=False)
        after = _MARKED.search(text, text.rfind(said) + len(said))
        return self._known_end_ids | ({int(after[1])} if after else set())

    @functools.cached_property
    def begin_ids(self) -> frozenset[int]:
        """See the class."""
        text = self._probe([Turn("user", "x")], prompting=True)
        return frozenset(int(found[1]) for found in _MARKED.finditer(text)) - self.end_ids

    @functools.cached_property
    def _opening(self) -> str:
        """What a template puts between a question and its answer."""
        texts = [self._probe([Turn("user", word)], prompting=True) for word in ("x", "y")]
        pairs = zip(*map(reversed, texts), strict=False)
        return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))[::-1]

    @functools.cached_property
    def _takes_system(self) -> bool:
        said = "x-system"
        turns = [Turn("user", "x"), Turn("assistant", "y")]
        return said in self._probe([Turn("system", said), *turns], prompting=False) or not self._probe(
            turns, prompting=False
        )

    def _probe(self, turns: Sequence[Turn], *, prompting: bool) -> str:
        """How the template renders these turns; empty if it refuses them."""
        try:
            return self._text(turns, prompting=prompting)
        except UnencodableError:
            return ""

    def _mapped(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns, where the template knows no system turn with its text before what the user says next."""
        if self._takes_system or all(turn.role != "system" for turn in turns):
            return list(turns)
        found, held = list[Turn](), list[Turn]()
        for turn in turns:
            if turn.role == "system":
                held.append(turn)
            elif turn.role == "user" and held:
                content = "\n\n".join(one.content for one in (*held, turn))
                found.append(Turn("user", content, min(one.weight for one in (*held, turn))))
                held.clear()
            else:
                found.append(turn)
        return found + held

    def _text(self, turns: Sequence[Turn], *, prompting: bool, now: datetime = _DAY) -> str:
        """What the template renders, with the tokenizer's names for its special tokens."""
        from nima_cli.engine.data.tokenizer.template_sandbox import clock

        messages = [{"role": turn.role, "content": self._guarded(turn.content)} for turn in turns]
        try:
            text: str = self._template.render(
                **{**self._variables, "messages": messages, "add_generation_prompt": prompting},
                tools=None,
                documents=None,
                strftime_now=clock(now),
            )
        except Exception as error:  # whatever a template does
            raise UnencodableError(
                f"the chat template ({self.name}) refuses these turns: {_one_line(error)}", REFUSED
            ) from error
        return self._spelled.sub(lambda found: mark(self._special[found[0]]), text).replace(GUARD, "")

    def _guarded(self, content: str) -> str:
        """What a turn says, with a noncharacter inside what spells a special token, or could become part of one."""
        if any(one in content for one in (MARK, END_MARK, GUARD)):
            raise UnencodableError("a message holds a Unicode noncharacter, U+FDD0 to U+FDD2", REFUSED)
        content = self._begins.sub(rf"\g<0>{GUARD}", content)
        bare = content.strip()
        sizes = range(1, min(len(bare), max(map(len, self._tails), default=0)) + 1)
        if any(bare[:size] in self._tails for size in sizes):
            content = content.replace(bare, GUARD + bare, 1)
        if any(bare[-size:] in self._heads for size in sizes):
            content = content[: len(content.rstrip())] + GUARD + content[len(content.rstrip()) :]
        return content

    def _ids(self, text: str, encode: Encode | None) -> list[int]:
        """The ids of a text with names of special tokens; with `encode` if the text between them stands alone."""
        if encode is None or self._tokenizer.leading_space:
            return self._tokenizer.encode_marked(text)
        said = _MARKED.split(text)
        parts = ([int(part)] if place % 2 else encode(part) for place, part in enumerate(said))
        return [token_id for part in parts for token_id in part]

    def _offsets(self, text: str, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Where each token begins and ends in the UTF-8 bytes of the text; `UnencodableError` if it has other bytes."""
        groups, marks = self._grouped(ids)
        said = _MARKED.split(text)
        offsets, at = list[tuple[int, int]](), 0
        if said[1::2] != [str(one) for one in marks]:
            raise UnencodableError(_LOST, LOSSY)
        for place, (part, group) in enumerate(zip(said[::2], groups, strict=True)):
            expected, found = part.encode(), b"".join(group)
            lead = b" " if self._tokenizer.leading_space and found != expected else b""
            if found != lead + expected:
                raise UnencodableError(_LOST, LOSSY)
            ends = accumulate(map(len, group), initial=at - len(lead))
            offsets += [(max(start, at), end) for start, end in pairwise(ends)]
            at += len(expected)
            if place < len(marks):
                start, at = at, at + len(mark(marks[place]).encode())
                offsets.append((start, at))
        return offsets

    def _grouped(self, ids: Sequence[int]) -> tuple[list[list[bytes]], list[int]]:
        """The bytes of the tokens before, between and after the special ones, and these."""
        groups, marks = [list[bytes]()], list[int]()
        for token_id in ids:
            if token_id in self._tokenizer.special_ids:
                marks.append(token_id)
                groups.append([])
            else:
                groups[-1].append(self._tokenizer.token_bytes(token_id))
        return groups, marks

    def _stretches(self, turns: Sequence[Turn], text: str, loss: Loss) -> Iterator[tuple[int, bool]]:
        """The end of each stretch of the text, and whether it carries loss: what others say, an answer, and so on."""
        at, first = 0, 0
        for place, turn in enumerate(turns):
            if turn.role == "assistant":
                start, at = self._answer(turns, place, text, at)
                yield start, loss == "all" and all(one.weight for one in turns[first:place])
                yield at, turn.weight != 0
                first = place + 1
        rest = turns[first:] or turns[-1:]
        yield len(text), loss == "all" and all(one.weight for one in rest)

    def _answer(self, turns: Sequence[Turn], place: int, text: str, at: int) -> tuple[int, int]:
        """Where the turn at `place` begins, after its header, and ends, with a special token; it is after `at`."""
        said = turns[place].content.split(_END_OF_THOUGHT)[-1].strip()
        for start in self._possible_starts(turns[:place], text, at):
            end = next((found for found in _MARKED.finditer(text, start) if int(found[1]) in self.end_ids), None)
            if end is not None and text[start : end.start()].rstrip().endswith(said):
                return start, end.end()
        raise DataError(
            f"the chat template ({self.name}) does not show where the assistant's turn begins and ends",
            hint="prepare the data with `loss=all`, or take a model with another chat template",
        )

    def _possible_starts(self, before: Sequence[Turn], text: str, at: int) -> Iterator[int]:
        """Where an answer to the turns `before` it may begin: behind the prompt, or where that differs, its header."""
        prompt = self._text(before, prompting=True)
        if text.startswith(prompt) and len(prompt) >= at:
            yield len(prompt)
        header = text.find(self._opening, at)
        if self._opening and header >= 0:
            yield header + len(self._opening)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, prompt, strict=False)))
        ends = [found.end() for found in _MARKED.finditer(text, at, same)]
        if ends:
            yield ends[-1]


def _mask(offsets: Sequence[tuple[int, int]], stretches: Sequence[tuple[int, bool]]) -> list[bool]:
    """Whether each token carries loss: it lies in a stretch that does, and not at the beginning of the text."""
    mask, number = list[bool](), 0
    for start, end in offsets:
        while number < len(stretches) - 1 and start >= stretches[number][0]:
            number += 1
        mask.append(stretches[number][1] and end <= stretches[number][0] and bool(mask))
    return mask


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
