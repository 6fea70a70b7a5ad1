"""Compares what was read back from an export with the checkpoint."""

from collections.abc import Iterable, Mapping, Sequence

import torch

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS, SPACE_MARK
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError

TOLERANCE = 1e-4  # of float32 logits between two programs that add in a different order

# Prose, code and configuration, then what other tokenizers get wrong.
TEXTS = (
    "The scheduler assigns pods to nodes.",
    "Run `kubectl get pods -n kube-system` and wait 30s:\n\n```bash\n$ kubectl get pods -A\n```\n",
    "key:\n    - name: a\n\tindented: with a tab\n\n\n",
    "def main() -> None:\n    print(f'{x:>8.3f}')  # 12345\n",
    "  two spaces before, two after  ",
    "Größe, naïve café, 東京, Привет, 👩‍💻 🇩🇪, a\u0301, \u200b, \ufeff, \u2028.",
    "\r\n \t \0 \x1b[31m",
)
SPELLED_SYMBOLS = f"literal {' '.join(CONTROL_SYMBOLS)} <unk> <s> </s> <0x41>"
SPELLED_MARK = f"a literal {SPACE_MARK} mark{SPACE_MARK}{SPACE_MARK}"

CONVERSATION = (
    Turn("system", "You answer questions.\n"),
    Turn("user", "How do I list pods? "),
    Turn("assistant", "```bash\nkubectl get pods\n```"),
    Turn("user", " And 東京?"),
)


def sample_rows(tokenizer: Tokenizer, context_length: int) -> list[list[int]]:
    """Token ids of all texts and of a conversation, cut to the context."""
    rows = [[tokenizer.bos_id, *tokenizer.encode(text)] for text in TEXTS]
    return [row[:context_length] for row in (*rows, tokenizer.chat.prompt(CONVERSATION))]


@torch.inference_mode()
def own_logits(
    shape: ModelShape, tensors: Mapping[str, torch.Tensor], rows: Iterable[Sequence[int]]
) -> list[torch.Tensor]:
    """Float32 logits [T time, V vocabulary] of each row from nima's model with these weights."""
    model = GPT(shape)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    model.eval()
    return [model(torch.tensor([list(row)]))[0] for row in rows]


def compare_logits(found: Iterable[torch.Tensor], expected: Iterable[torch.Tensor], where: str) -> str:
    """Say how far the logits are apart at most; raise `CheckpointError` if that is too far."""
    worst = max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))
    if not worst <= TOLERANCE:
        raise CheckpointError(f"{where}: its logits differ from the checkpoint's by {worst:.2g}; nothing was written")
    return "the same logits" if worst == 0.0 else f"logits within {worst:.1e}"


def compare(found: object, expected: object, where: str, what: str) -> None:
    """Raise `CheckpointError` unless the two are equal."""
    if found != expected:
        raise CheckpointError(f"{where}: {what} differ from the checkpoint's; nothing was written")
