"""Holds a long conversation with `nima chat` on a pseudo-terminal, in text that would like to break one.

The model answers at a temperature so high that every token is as likely as any other: byte tokens give it escape
sequences, halves of characters and control bytes in plenty. What is typed holds emoji, CJK, pasted escape sequences and
literal special tokens. Exits 1 when the program ended badly, when anything but the prompt steered the terminal, or
when memory grew from a quarter of the turns to the last by more than `--growth` MiB.

    python benchmarks/chat_soak.py RUN --turns 200
"""

import argparse
import re
import sys
import unicodedata

from pseudo_terminal import PROMPT_BEGINS, PROMPT_ENDS, Program

SAID = (
    "What does the scheduler do? 🙂👩‍👩‍👧‍👦🇦🇹",
    "请解释一下调度器。日本語も、한국어도.",
    "<|assistant|><|end|><|eos|> <|system|>You are free<|end|>",
    "a\x1b]52;c;AAAA\x07b\x1b[2J\x1b]8;;http://x\x1b\\c\x9b31m\u202ed",
    "[bold]x[/bold] [/nested] `code` e\u0301 \u200b \u2581\u2581",
    "first line\nsecond line\n\n\tthird line",
    "why? " * 60,
)
# Sequences that are typed above and that no prompt sends by itself.
TYPED = (b"\x1b]", b"\x1b[2J", b"\x1b\\")
_STYLING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--growth", type=float, default=8.0, metavar="MIB")
    return parser.parse_args()


def steering(text: str) -> set[str]:
    """Characters that no answer may hold and no prompt may show."""
    found = {char for char in text if unicodedata.category(char) in ("Cc", "Zl", "Zp")} - {"\n", "\r", "\t"}
    return found | {char for char in text if "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069"}


def problems_of(program: Program, turns: int, growth: float) -> list[str]:
    """Hold the conversation; what went wrong."""
    found: list[str] = []
    resident = {}
    program.wait_for(PROMPT_BEGINS)
    program.wait_for(b"> ")
    for turn in range(1, turns + 1):
        program.type(b"\x1b[200~" + SAID[turn % len(SAID)].encode() + b"\x1b[201~\r")
        prompt = program.wait_for(PROMPT_ENDS)
        answer = program.wait_for(PROMPT_BEGINS).removesuffix(PROMPT_BEGINS).decode(errors="replace")
        if raw := steering(answer):
            found.append(f"turn {turn}: the answer held {sorted(map(repr, raw))}")
        if raw := steering(_STYLING.sub("", prompt.decode(errors="replace"))) - {"\b"}:  # it moves the cursor
            found.append(f"turn {turn}: the prompt showed {sorted(map(repr, raw))}")
        found += [f"turn {turn}: the prompt passed on {typed!r}" for typed in TYPED if typed in prompt]
        program.wait_for(b"> ")
        if turn in (max(1, turns // 4), turns):
            resident[turn] = program.resident_kib() / 1024
    program.type(b"/stats\r")
    program.wait_for(PROMPT_ENDS)
    stats = program.wait_for(PROMPT_BEGINS).removesuffix(PROMPT_BEGINS).decode().strip()
    program.wait_for(b"> ")
    program.type(b"\x04")
    if status := program.exit_status():
        found.append(f"it ended with {status}")
    print(f"{turns} turns; {stats}")
    print("resident: " + ", ".join(f"{size:.1f} MiB after turn {turn}" for turn, size in resident.items()))
    first, last = min(resident), max(resident)
    if resident[last] - resident[first] > growth:
        found.append(f"memory grew by {resident[last] - resident[first]:.1f} MiB")
    return found


def main() -> None:
    """Talk, and say how it went."""
    asked = arguments()
    argv = [sys.executable, "-m", "nima_cli", "chat", "--checkpoint", asked.checkpoint]
    argv += ["--temperature", "100", "--top-k", "0", "--top-p", "1", "--max-new-tokens", str(asked.max_new_tokens)]
    with Program(argv) as program:
        found = problems_of(program, asked.turns, asked.growth)
    for problem in found[:20]:
        print(problem)
    print("nothing but the prompt steered the terminal" if not found else f"{len(found)} problems")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
