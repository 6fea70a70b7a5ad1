"""Where special symbols enter: documents and conversations as token ids with their loss mask.

Prose:        `<|bos|>` chunk, and `<|eos|>` after the last chunk of a document.
Conversation: `<|bos|>` (`<|role|>` content `<|end|>`)* `<|eos|>`.

Under `loss: all` every token but `<|bos|>` carries loss; under `loss: assistant`, of a conversation, only what the
assistant says, its `<|end|>` and the closing `<|eos|>`. A message of weight 0 carries none, nor does an `<|eos|>` after
it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, END, EOS, ROLE_SYMBOLS
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer

Loss = Literal["all", "assistant"]

_ROLES = ", ".join(f"'{role}'" for role in ROLE_SYMBOLS)
# The format of conversations as a Jinja template, for other programs: one line, so that no setting for white space
# changes what it gives.
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
    """One sample: its token ids, and for each whether it carries loss as a target."""

    ids: list[int]
    mask: list[bool]


def render_prose(content: Iterable[int], tokenizer: Tokenizer, *, last: bool) -> Sample:
    """One chunk of a document, encoded; prose carries loss everywhere but on `<|bos|>`.

    Args:
        last: it ends the document.
    """
    ids = [tokenizer.bos_id, *content]
    if last:
        ids.append(tokenizer.eos_id)
    return Sample(ids, [False] + [True] * (len(ids) - 1))


def render_conversation(
    turns: Iterable[Turn],
    tokenizer: Tokenizer,
    encode: Callable[[str], list[int]] | None = None,
    *,
    loss: Loss = "assistant",
) -> Sample:
    """A whole conversation.

    Args:
        encode: gives what `tokenizer.encode` would, only faster.
    """
    encode = encode or tokenizer.encode
    ids, mask = [tokenizer.bos_id], [False]
    learnt = True
    for turn in turns:
        learnt = turn.weight != 0
        content = [*encode(turn.content), tokenizer.end_id]
        ids += [tokenizer.role_ids[turn.role], *content]
        mask.append(learnt and loss == "all")
        mask += [learnt and (loss == "all" or turn.role == "assistant")] * len(content)
    return Sample([*ids, tokenizer.eos_id], [*mask, learnt])


def chat_prompt(turns: Iterable[Turn], tokenizer: Tokenizer) -> list[int]:
    """The conversation so far, ending where the assistant begins to speak."""
    ids = [tokenizer.bos_id]
    for turn in turns:
        ids += [tokenizer.role_ids[turn.role], *tokenizer.encode(turn.content), tokenizer.end_id]
    return [*ids, tokenizer.role_ids["assistant"]]
