"""Where special symbols enter: documents and conversations as token ids with their loss mask; never reads files.

Prose:        `<|bos|>` piece, and `<|eos|>` after the last piece of a document.
Conversation: `<|bos|>` (`<|role|>` content `<|end|>`)* `<|eos|>`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Rendered:
    """One sample: its token ids, and for each whether it carries loss as a target under `loss: assistant`.

    Under `loss: all` every token but `<|bos|>` does, which needs no mask.
    """

    ids: list[int]
    mask: list[bool]


def render_prose(text: str, tokenizer: Tokenizer, *, last: bool) -> Rendered:
    """One piece of a document; prose carries loss everywhere but on `<|bos|>`."""
    return frame_prose(tokenizer.encode(text), tokenizer, last=last)


def frame_prose(content: Iterable[int], tokenizer: Tokenizer, *, last: bool) -> Rendered:
    """`render_prose` for a text that is already encoded."""
    ids = [tokenizer.bos_id, *content]
    if last:
        ids.append(tokenizer.eos_id)
    return Rendered(ids, [False] + [True] * (len(ids) - 1))


def render_conversation(
    turns: Iterable[Turn], tokenizer: Tokenizer, encode: Callable[[str], list[int]] | None = None
) -> Rendered:
    """A whole conversation; what the assistant says, its `<|end|>` and the closing `<|eos|>` carry loss.

    Args:
        encode: gives what `tokenizer.encode` would, only faster.
    """
    encode = encode or tokenizer.encode
    ids, mask = [tokenizer.bos_id], [False]
    for turn in turns:
        content = [*encode(turn.content), tokenizer.end_id]
        ids += [tokenizer.role_ids[turn.role], *content]
        mask += [False] + [turn.role == "assistant"] * len(content)
    return Rendered([*ids, tokenizer.eos_id], [*mask, True])


def chat_prompt(turns: Iterable[Turn], tokenizer: Tokenizer) -> list[int]:
    """The conversation so far, ending where the assistant begins to speak."""
    ids = [tokenizer.bos_id]
    for turn in turns:
        ids += [tokenizer.role_ids[turn.role], *tokenizer.encode(turn.content), tokenizer.end_id]
    return [*ids, tokenizer.role_ids["assistant"]]
