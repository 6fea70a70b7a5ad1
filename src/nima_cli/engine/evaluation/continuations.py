"""Lets a model continue held-out documents, and measures valid code and memorized text in what it wrote."""

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.evaluation.code_validity import CodeBlock, code_blocks
from nima_cli.engine.evaluation.groups import document_bounds
from nima_cli.engine.evaluation.memorization import Memorized, memorized
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import DataError
from nima_cli.events import Progress

_PROMPT_TOKENS = 32
_NEW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Continuation:
    """How the model continued a prompt: `finished` before the limit, with the fences that end in its text."""

    prompt: str
    text: str
    seed: int
    tokens: int
    finished: bool
    blocks: tuple[CodeBlock, ...]


@dataclass(frozen=True, slots=True)
class Continuations:
    """What a model wrote; `held_out_memorized` is `memorized` of how the documents really continue."""

    texts: tuple[Continuation, ...]
    memorized: Memorized
    held_out_memorized: Memorized
    longest_copy: str
    shell_checked: bool


def continue_documents(
    generator: TextGenerator, held_out: SplitArrays, train: SplitArrays, *, count: int, seed: int
) -> Generator[Progress, None, Continuations]:
    """Continue up to `count` held-out documents, the same ones every time; text n is drawn with `seed` + n.

    Raises DataError if the split holds conversations only.
    """
    tokenizer, context = generator.tokenizer, generator.generator.context_length
    room = min(_NEW_TOKENS, context // 2)
    bash = shutil.which("bash")
    beginnings = list(_beginnings(held_out, tokenizer, count, min(_PROMPT_TOKENS, context // 4)))
    if not beginnings:
        raise DataError("`samples=`: this split holds no document to go on with, only conversations")
    texts, ours, theirs = list[Continuation](), list[list[int]](), list[list[int]]()
    for number, (prompt, rest) in enumerate(beginnings):
        yield Progress("writing", number, len(beginnings), "texts")
        (found,) = generator.complete(prompt, sampling=SamplingParams(), max_new_tokens=room, seed=seed + number)
        checked = code_blocks(prompt + found.text, after=len(prompt), bash=bash)
        texts.append(Continuation(prompt, found.text, found.seed, found.tokens, found.finished, tuple(checked)))
        ours.append(tokenizer.encode(found.text))
        theirs.append(tokenizer.encode(rest)[:room])
    yield Progress("looking for copies", 0, 1, "")
    copies = memorized(ours, train.tokens)
    text, first = copies.longest_at
    longest = tokenizer.decode(ours[text][first : first + copies.longest])
    return Continuations(tuple(texts), copies, memorized(theirs, train.tokens), longest, bash is not None)


def _beginnings(arrays: SplitArrays, tokenizer: Tokenizer, count: int, size: int) -> Iterator[tuple[str, str]]:
    """(beginning, rest) of documents spread evenly over the split; every other one is cut where a code block opens."""
    prose = [(start, end) for start, end, kind in document_bounds(arrays) if kind in ("text", "markdown")]
    wanted = min(count, len(prose))
    for number in range(wanted):
        start, end = prose[number * len(prose) // wanted]
        ids = [token for token in arrays.tokens[start:end].tolist() if tokenizer.token_bytes(token)]
        text = tokenizer.decode(ids)
        cut = _opening(text) if number % 2 else 0
        if cut:
            prompt = tokenizer.decode(tokenizer.encode(text[:cut])[-2 * size :])
            prompt = prompt if len(prompt) == cut else prompt.partition("\n")[2] or prompt  # begin with a whole line
        else:
            prompt = tokenizer.decode(ids[: min(size, max(1, len(ids) // 2))])
            cut = len(prompt.rstrip("\ufffd"))
        prompt = prompt.strip("\ufffd")  # half a character at the cut
        if prompt and text[cut:]:
            yield prompt, text[cut:]


def _opening(text: str) -> int:
    """Characters up to the end of the line that opens the first fence, or 0."""
    lines = text.split("\n")
    fence = next((block for block in blocks(text) if block.kind == "fence"), None)
    return 0 if fence is None else len("\n".join(lines[: fence.start + 1])) + 1
