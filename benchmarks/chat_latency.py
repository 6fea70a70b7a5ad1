"""How long somebody waits for `nima chat`: from the command to the prompt, and from Enter to the first of an answer.

Measured on a pseudo-terminal, as a user would: from starting the process to the prompt that can be typed at, and from
sending a message to the first byte of its answer.

    python benchmarks/chat_latency.py RUN --times 5
"""

import argparse
import statistics
import sys
import time

from pseudo_terminal import PROMPT_BEGINS, PROMPT_ENDS, Program

QUESTIONS = ("How do I sort a list in Python?", "And in which order are equal elements then?", "Thank you! And why?")


def measure(checkpoint: str) -> tuple[float, list[float]]:
    """Seconds to the prompt, and to the first of each answer."""
    answers = []
    start = time.perf_counter()
    with Program([sys.executable, "-m", "nima_cli", "chat", "--checkpoint", checkpoint]) as program:
        program.wait_for(PROMPT_BEGINS)
        program.wait_for(b"> ")
        loading = time.perf_counter() - start
        for question in QUESTIONS:
            program.type(question.encode())
            program.wait_for(b"?")
            time.sleep(0.2)  # as if somebody had typed it: what it costs to draw is over
            sent = time.perf_counter()
            program.type(b"\r")
            program.wait_for(PROMPT_ENDS)
            program.wait_for_more()
            answers.append(time.perf_counter() - sent)
            program.wait_for(PROMPT_BEGINS)
            program.wait_for(b"> ")
        program.type(b"\x04")
        program.exit_status()
    return loading, answers


def row(name: str, seconds: list[float]) -> str:
    """One line of the table."""
    return f"{name:<28}{statistics.median(seconds):8.3f}{min(seconds):8.3f}{max(seconds):8.3f}"


def main() -> None:
    """Measure, and print seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    found = [measure(asked.checkpoint) for _ in range(asked.times)]
    print(f"{'seconds':<28}{'median':>8}{'least':>8}{'most':>8}")
    print(row("command to prompt", [loading for loading, _ in found]))
    print(row("first question to answer", [answers[0] for _, answers in found]))
    print(row("later question to answer", [seconds for _, answers in found for seconds in answers[1:]]))


if __name__ == "__main__":
    main()
