"""The chat format: documents and conversations as token ids with special symbols and a loss mask.

Prose:        `<|bos|>` chunk, and `<|eos|>` after the last chunk of a document.
Conversation: `<|bos|>` (`<|role|>` content `<|end|>`)* `<|eos|>`.

With `loss: all` each token but `<|bos|>` carries loss. With `loss: assistant` only these tokens of a conversation do:
what the assistant says, its `<|end|>`, and the final `<|eos|>`. A message of weight 0 carries no loss, nor does an
`<|eos|>` after it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, END, EOS, ROLE_SYMBOLS
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer

Loss = Literal["all", "assistant"]

_ROLES = ", ".join(f"'{role}'" for role in ROLE_SYMBOLS)
# The format as a Jinja template for other programs; on one line, so that no setting for white space changes it.
CHAT_TEMPLATE = (
    f"{{{{ '{BOS}' }}}}"
    "{% for message in messages %}"
    f"{{% if message['role'] not in [{_ROLES}] %}}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    f"{{{{ '<|' + message['role'] + '|>' + message['content'] + '{END}' }}}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{ROLE_SYMBOLS['assistant']}' }}}}{{% else %}}{{{{ '{EOS}' }}}}{{% endif %}}"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids, and for each whether it carries loss as a target."""

    ids: list[int]
    mask: list[bool]


def render_prose(content: Iterable[int], tokenizer: Tokenizer, *, last: bool) -> Sample:
    """An encoded chunk as a sample; `last` means that it ends its document."""
    ids = [tokenizer.bos_id, *content, *([tokenizer.eos_id] if last else [])]
    return Sample(ids, [False] + [True] * (len(ids) - 1))


def turn_ids(turn: Turn, tokenizer: Tokenizer, encode: Callable[[str], list[int]] | None = None) -> list[int]:
    """A turn between the symbol of its role and the end symbol; `encode` is a faster `tokenizer.encode`."""
    return [tokenizer.role_ids[turn.role], *(encode or tokenizer.encode)(turn.content), tokenizer.end_id]


def render_conversation(
    turns: Iterable[Turn],
    tokenizer: Tokenizer,
    encode: Callable[[str], list[int]] | None = None,
    *,
    loss: Loss = "assistant",
) -> Sample:
    """A whole conversation as a sample; `encode` is a faster `tokenizer.encode`."""
    ids, mask = [tokenizer.bos_id], [False]
    learnt = True
    for turn in turns:
        learnt = turn.weight != 0
        framed = turn_ids(turn, tokenizer, encode)
        ids += framed
        mask.append(learnt and loss == "all")
        mask += [learnt and (loss == "all" or turn.role == "assistant")] * (len(framed) - 1)
    return Sample([*ids, tokenizer.eos_id], [*mask, learnt])


def chat_prompt(turns: Iterable[Turn], tokenizer: Tokenizer) -> list[int]:
    """The token ids of a conversation up to where the assistant begins to speak."""
    return [*render_conversation(turns, tokenizer).ids[:-1], tokenizer.role_ids["assistant"]]
