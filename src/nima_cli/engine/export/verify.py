"""Compares what was read back from an export with the checkpoint."""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import torch

from nima_cli.engine.checkpoint.file import Checkpoint, build_model
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.sentencepiece_file import CONTROL_SYMBOLS, SPACE_MARK
from nima_cli.engine.model.shape import ModelShape
from nima_cli.errors import CheckpointError, InputError

# Of float32 logits between two programs that add in a different order; of large ones a share.
TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5

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


def encodings(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The ids of the texts, but for those that a lossy tokenizer refuses."""
    found = {}
    for text in TEXTS:
        with contextlib.suppress(InputError):
            found[text] = tokenizer.encode(text)
    return found


def chat_prompts(tokenizer: Tokenizer) -> list[tuple[tuple[Turn, ...], list[int]]]:
    """A conversation with and without its system turn, and the ids of its prompt, where the chat format has these."""
    found: list[tuple[tuple[Turn, ...], list[int]]] = []
    takes_system = not isinstance(tokenizer, HFTokenizer) or tokenizer.chat.takes_system
    for turns in (CONVERSATION, CONVERSATION[1:]) if takes_system else (CONVERSATION[1:],):
        with contextlib.suppress(InputError):
            found.append((turns, tokenizer.chat.prompt(turns)))
    return found


def sample_rows(tokenizer: Tokenizer, context_length: int) -> list[list[int]]:
    """Token ids of all texts and of a conversation, cut to the context."""
    rows = [[tokenizer.bos_id, *ids] for ids in encodings(tokenizer).values()]
    return [row[:context_length] for row in (*rows, *(ids for _, ids in chat_prompts(tokenizer)[:1]))]


def own_logits(
    shape: ModelShape, tensors: Mapping[str, torch.Tensor], rows: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    """Float32 logits [T time, V vocabulary] of each row from nima's model with these weights."""
    weights = {name: tensor.float() for name, tensor in tensors.items()}
    return logits_of(build_model(Checkpoint(shape, weights, tokenizer_proto=b"")), rows)


@torch.inference_mode()
def logits_of(model: Callable[[torch.Tensor], torch.Tensor], rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """The same from a model, which is asked about all rows at once: what fills them up comes after their own tokens."""
    longest = max(map(len, rows))
    logits_BTV = model(torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])).float()
    return [logits_TV[: len(row)] for logits_TV, row in zip(logits_BTV, rows, strict=True)]


def distance(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """How far two lists of logits are apart at most."""
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


def compare_logits(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], where: str) -> str:
    """Say how far the logits are apart at most; raise `CheckpointError` if that is too far."""
    worst, largest = distance(found, expected), max(float(one.abs().max()) for one in expected)
    if not worst <= max(TOLERANCE, RELATIVE_TOLERANCE * largest):
        raise CheckpointError(f"{where}: its logits differ from the checkpoint's by {worst:.2g}; nothing was written")
    return "the same logits" if worst == 0.0 else f"logits within {worst:.1e}"


def compare(found: object, expected: object, where: str, what: str) -> None:
    """Raise `CheckpointError` unless the two are equal."""
    if found != expected:
        raise CheckpointError(f"{where}: {what} differ from the checkpoint's; nothing was written")
