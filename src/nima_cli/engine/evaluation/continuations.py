"""Lets a model go on from held-out beginnings and looks at what it wrote; knows no terminal."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.document import KINDS
from nima_cli.engine.data.store.dataset_files import SplitArrays
from nima_cli.engine.evaluation.code_validity import CodeBlock, bash_path, code_blocks
from nima_cli.engine.evaluation.groups import document_bounds
from nima_cli.engine.evaluation.memorization import Copies, TrainingText
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.errors import DataError
from nima_cli.events import Progress

_PROMPT_TOKENS = 32
_NEW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a held-out document, and how its author went on."""

    prompt: str
    rest: str


@dataclass(frozen=True, slots=True)
class Written:
    """One continuation.

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
class Writing:
    """What a model wrote.

    Attributes:
        copies: of the training set, in what the model wrote.
        human_copies: the same measure for how the documents really go on.
        longest_copy: the text of the longest copy in what the model wrote.
        shell_checked: whether there is a shell to check shell text with.
    """

    texts: tuple[Written, ...]
    copies: Copies
    human_copies: Copies
    longest_copy: str
    shell_checked: bool


def write_on(
    generator: TextGenerator, held_out: SplitArrays, train: SplitArrays, *, count: int, seed: int
) -> Generator[Progress, None, Writing]:
    """Continue up to `count` held-out documents, the same ones every time; text n is drawn with `seed` + n.

    Raises:
        DataError: the split holds conversations only.
    """
    context = generator.generator.context_length
    room = min(_NEW_TOKENS, context // 2)
    bash, written, theirs = bash_path(), list[Written](), list[list[int]]()
    beginnings = list(_beginnings(held_out, generator, count, min(_PROMPT_TOKENS, context // 4)))
    if not beginnings:
        raise DataError("`--samples`: this split holds no document to go on with, only conversations")
    for number, one in enumerate(beginnings):
        yield Progress("writing", number, len(beginnings), "texts")
        (found,) = generator.complete(one.prompt, sampling=SamplingParams(), max_new_tokens=room, seed=seed + number)
        checked = code_blocks(one.prompt + found.text, after=len(one.prompt), bash=bash)
        written.append(Written(one.prompt, found.text, found.seed, found.tokens, found.finished, tuple(checked)))
        theirs.append(generator.tokenizer.encode(one.rest)[:room])
    yield Progress("looking for copies", 0, 1, "")
    training = TrainingText(train.tokens)
    ours = [generator.tokenizer.encode(one.text) for one in written]
    copies = training.copies(ours)
    text, first = copies.longest_at
    longest = generator.tokenizer.decode(ours[text][first : first + copies.longest])
    return Writing(tuple(written), copies, training.copies(theirs), longest, bash is not None)


def _beginnings(arrays: SplitArrays, generator: TextGenerator, count: int, size: int) -> Iterator[Beginning]:
    """Beginnings of documents spread evenly over the split; every other one ends where a code block opens, if any."""
    tokenizer = generator.tokenizer
    prose = _prose_bounds(arrays)
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
            yield Beginning(prompt, text[cut:])


def _prose_bounds(arrays: SplitArrays) -> list[tuple[int, int]]:
    first = {
        int(offset): KINDS[kind] for offset, kind in zip(arrays.index["offset"], arrays.index["kind"], strict=True)
    }
    return [(start, end) for start, end in document_bounds(arrays) if first[start] in ("text", "markdown")]


def _opening(text: str) -> int:
    """Characters up to the end of the line that opens the first fence; 0 where there is none."""
    lines = text.split("\n")
    fence = next((block for block in blocks(text) if block.kind == "fence"), None)
    return 0 if fence is None else len("\n".join(lines[: fence.start + 1])) + 1
