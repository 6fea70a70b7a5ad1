"""The chat format of models from scratch: conversations as token ids with special symbols and a loss mask.

Prose:        `<|bos|>` chunk, and `<|eos|>` after the last chunk of a document.
Conversation: `<|bos|>` (`<|role|>` content `<|end|>`)* `<|eos|>`.

With `loss: all` each token but `<|bos|>` carries loss. With `loss: assistant` only these tokens of a conversation do:
what the assistant says, its `<|end|>`, and the final `<|eos|>`. A message of weight 0 carries no loss, nor does an
`<|eos|>` after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nima_cli.engine.data.document import Role, Turn
from nima_cli.engine.data.tokenizer.protocol import Encode, Loss, Sample
from nima_cli.engine.data.tokenizer.sentencepiece_file import BOS, END, EOS, ROLE_SYMBOLS

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
class SymbolChat:
    """Frames turns with symbols that text cannot spell; `encode` is the tokenizer's."""

    bos_id: int
    eos_id: int
    end_id: int
    role_ids: Mapping[Role, int]
    encode: Encode

    def render(self, turns: Sequence[Turn], *, loss: Loss, encode: Encode | None = None) -> Sample:
        """A whole conversation as a sample; see `ChatFormat.render`."""
        ids, mask = [self.bos_id], [False]
        learnt = True
        for turn in turns:
            learnt = turn.weight != 0
            framed = [self.role_ids[turn.role], *(encode or self.encode)(turn.content), self.end_id]
            ids += framed
            mask.append(learnt and loss == "all")
            mask += [learnt and (loss == "all" or turn.role == "assistant")] * (len(framed) - 1)
        return Sample([*ids, self.eos_id], [*mask, learnt])

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """The ids of a conversation up to where the assistant begins to speak."""
        return [*self.render(turns, loss="all").ids[:-1], self.role_ids["assistant"]]
