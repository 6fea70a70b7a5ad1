"""Lets a model go on from held-out beginnings and looks at what it wrote: code that parses, text that it memorized."""

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.data.tokenizer.tokenizer import Tokenizer
from nima_cli.engine.evaluation.code_validity import CodeBlock, code_blocks
from nima_cli.engine.evaluation.groups import document_bounds
from nima_cli.engine.evaluation.memorization import Memorized, TrainingText
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import DataError
from nima_cli.events import Progress

_PROMPT_TOKENS = 32
_NEW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Continuation:
    """How the model went on after a prompt.

    Attributes:
        finished: ended by itself rather than at the limit.
        blocks: the fences that end in it.
    """

    prompt: str
    text: str
    seed: int
    tokens: int
    finished: bool
    blocks: tuple[CodeBlock, ...]


@dataclass(frozen=True, slots=True)
class Continuations:
    """What a model wrote.

    Attributes:
        memorized: of the training set, in what the model wrote.
        held_out_memorized: the same measure for how the documents really go on.
        longest_copy: the text of the longest copy in what the model wrote.
        shell_checked: whether there is a shell to check shell text with.
    """

    texts: tuple[Continuation, ...]
    memorized: Memorized
    held_out_memorized: Memorized
    longest_copy: str
    shell_checked: bool


def continue_documents(
    generator: TextGenerator, held_out: SplitArrays, train: SplitArrays, *, count: int, seed: int
) -> Generator[Progress, None, Continuations]:
    """Continue up to `count` held-out documents, the same ones every time; text n is drawn with `seed` + n.

    Raises:
        DataError: the split holds conversations only.
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
    training = TrainingText(train.tokens)
    memorized = training.memorized(ours)
    text, first = memorized.longest_at
    longest = tokenizer.decode(ours[text][first : first + memorized.longest])
    return Continuations(tuple(texts), memorized, training.memorized(theirs), longest, bash is not None)


def _beginnings(arrays: SplitArrays, tokenizer: Tokenizer, count: int, size: int) -> Iterator[tuple[str, str]]:
    """(beginning, rest) of documents spread evenly over the split.

    Every other beginning ends where a code block opens, if there is one.
    """
    prose = [(start, end) for start, end, kind in document_bounds(arrays) if kind in ("text", "markdown")]
    wanted = min(count, len(prose))
    for number in range(wanted):
        start, end = prose[number * len(prose) // wanted]
        ids = [token for token in arrays.tokens[start:end].tolist() if tokenizer.token_bytes(token)]
        text = tokenizer.decode(ids)
        cut = _opening(text) if number % 2 else 0
        if cut:
            prompt = tokenizer.decode(tokenizer.encode(text[:cut])[-2 * size :])
            prompt = prompt if len(prompt) == cut else prompt.partition("\n")[2] or prompt  # from a whole line on
        else:
            prompt = tokenizer.decode(ids[: min(size, max(1, len(ids) // 2))])
            cut = len(prompt.rstrip("\ufffd"))
        prompt = prompt.strip("\ufffd")  # half a character at the cut
        if prompt and text[cut:]:
            yield prompt, text[cut:]


def _opening(text: str) -> int:
    """Characters up to the end of the line that opens the first fence; 0 where there is none."""
    lines = text.split("\n")
    fence = next((block for block in blocks(text) if block.kind == "fence"), None)
    return 0 if fence is None else len("\n".join(lines[: fence.start + 1])) + 1
