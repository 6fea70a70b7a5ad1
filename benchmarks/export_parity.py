"""Exports a checkpoint and compares nima with transformers and llama.cpp: ids of a whole split, greedy answers.

    python benchmarks/export_parity.py CHECKPOINT DATA [--llama-node FOLDER]

transformers takes part when it is installed; llama.cpp when FOLDER/node_modules holds its Node binding
(`npm install node-llama-cpp`). Prompts are beginnings of lines of the split. It prints one table, or with
`--json` one object; exits 0 when all that took part agree, 1 when they do not, 2 on bad input.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from readable_view import read_view
from rich.console import Console
from rich.table import Table

from nima_cli.cli.home import home
from nima_cli.engine.checkpoint.file import load_for_inference
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.export.run import export_checkpoint
from nima_cli.engine.inference.generator import StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.inference.text import TextGenerator
from nima_cli.engine.kernels.decoder import native_backend
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import NimaError

PROMPT_TOKENS = 12


@dataclass(frozen=True)
class Questions:
    """What every program is asked: the ids of `texts`, and a greedy answer to each prompt."""

    texts: list[str]
    prompts: list[list[int]]
    tokens: int
    ends: list[int]
    context: int


@dataclass(frozen=True)
class Answers:
    """What a program said, in the order of the questions."""

    ids: list[list[int]]
    answers: list[list[int]]


class Program(Protocol):
    """One way to run the model."""

    def __call__(self, questions: Questions, /) -> Answers: ...


def split_texts(data: Path, split: str) -> list[str]:
    """Every document and every turn of a split.

    Raises:
        OSError: there is no such file.
    """
    entries = read_view((data / f"{split}.txt").read_bytes().decode("utf-8"))
    return [text for entry in entries for text in (entry.text, *(turn.content for turn in entry.turns)) if text]


def ask(model: GPT, tokenizer: Tokenizer, texts: list[str], *, prompts: int, tokens: int) -> Questions:
    """Questions about all texts, and about the beginnings of some of their lines, evenly spread."""
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    chosen = [lines[index * len(lines) // prompts] for index in range(prompts)]
    beginnings = [[tokenizer.bos_id, *tokenizer.encode(line)[:PROMPT_TOKENS]] for line in chosen]
    ends = sorted(TextGenerator(model, tokenizer).end_ids)
    context = model.shape.context_length
    longest = max(map(len, beginnings))
    return Questions(texts, beginnings, min(tokens, context // 2, context - longest), ends, context)


def with_nima(model: GPT, tokenizer: Tokenizer) -> Program:
    """nima itself."""

    def answer(questions: Questions) -> Answers:
        generator = TextGenerator(model, tokenizer, native_backend(model, home() / "compiled")).generator
        stops = StoppingCriteria(frozenset(questions.ends), questions.tokens)
        greedy = SamplingParams(temperature=0.0)
        found = [list(generator.decode(prompt, sampling=greedy, stops=stops, seed=0)) for prompt in questions.prompts]
        return Answers([tokenizer.encode(text) for text in questions.texts], found)

    return answer


def with_transformers(folder: Path) -> Program:
    """transformers, with nothing but the exported folder."""

    def answer(questions: Questions) -> Answers:
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).float().eval()
        ids = tokenizer(questions.texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        answers = []
        for prompt in questions.prompts:
            row = torch.tensor([prompt])
            limits = {"max_new_tokens": questions.tokens, "eos_token_id": questions.ends}
            out = model.generate(row, attention_mask=torch.ones_like(row), **limits, **greedy)[0].tolist()[
                len(prompt) :
            ]
            answers.append(out[:-1] if out and out[-1] in questions.ends else out)
        return Answers(ids, answers)

    return answer


def with_llama_cpp(model: Path, node_folder: Path) -> Program:
    """llama.cpp, through its Node binding."""

    def answer(questions: Questions) -> Answers:
        job: dict[str, Any] = {"model": str(model.resolve()), **vars(questions)}
        command = ["node", str(Path(__file__).with_name("llama_cpp.mjs")), str(node_folder.resolve())]
        done = subprocess.run(command, input=json.dumps(job).encode(), stdout=subprocess.PIPE, check=True)
        return Answers(**json.loads(done.stdout))

    return answer


def has_llama_cpp(node_folder: Path | None) -> bool:
    """Whether the binding is there."""
    return node_folder is not None and (node_folder / "node_modules" / "node-llama-cpp" / "package.json").is_file()


def compare(name: str, found: Answers, expected: Answers) -> dict[str, Any]:
    """Counts of agreement with nima."""
    return {
        "program": name,
        "texts": len(expected.ids),
        "tokens": sum(map(len, expected.ids)),
        "equal_texts": _equal(found.ids, expected.ids),
        "prompts": len(expected.answers),
        "equal_answers": _equal(found.answers, expected.answers),
    }


def _equal(found: Sequence[list[int]], expected: Sequence[list[int]]) -> int:
    return sum(one == other for one, other in zip(found, expected, strict=True))


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Export, ask everybody, count.

    Raises:
        NimaError: the checkpoint or the dataset cannot be used.
        OSError: a file is missing.
        subprocess.CalledProcessError: llama.cpp failed.
    """
    model, tokenizer, _ = load_for_inference(arguments.checkpoint)
    texts = split_texts(arguments.data, arguments.split)
    questions = ask(model, tokenizer, texts, prompts=arguments.prompts, tokens=arguments.tokens)
    expected = with_nima(model, tokenizer)(questions)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        programs: dict[str, Program] = {}
        if find_spec("transformers") is not None:
            list(export_checkpoint(arguments.checkpoint, Path(folder, "hf"), format="hf"))
            programs["transformers"] = with_transformers(Path(folder, "hf"))
        if has_llama_cpp(arguments.llama_node):
            list(export_checkpoint(arguments.checkpoint, Path(folder, "model.gguf"), format="gguf"))
            programs["llama.cpp"] = with_llama_cpp(Path(folder, "model.gguf"), arguments.llama_node)
        for name, program in programs.items():
            results.append(compare(name, program(questions), expected))
    return results


def table(results: Sequence[dict[str, Any]]) -> Table:
    """One line for each program."""
    shown = Table(title="agreement with nima")
    for heading in ("program", "same ids (texts)", "tokens", "same greedy answers"):
        shown.add_column(heading)
    for one in results:
        texts, answers = f"{one['equal_texts']} of {one['texts']}", f"{one['equal_answers']} of {one['prompts']}"
        shown.add_row(one["program"], texts, f"{one['tokens']:,}", answers)
    return shown


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Compare an exported checkpoint in transformers and llama.cpp with nima."
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint or a run directory")
    parser.add_argument("data", type=Path, metavar="DATA", help="a prepared dataset")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64, help="of each greedy answer; at most half the context")
    parser.add_argument("--llama-node", type=Path, metavar="FOLDER", help="holds node_modules with node-llama-cpp")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        results = measure(arguments)
    except (NimaError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not results:
        print("error: neither transformers nor llama.cpp is installed", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(results))
    else:
        Console().print(table(results))
    agree = all((one["equal_texts"], one["equal_answers"]) == (one["texts"], one["prompts"]) for one in results)
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
