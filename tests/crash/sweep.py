"""The sweeps: faults at counted moments, kills and signals at random instants, many starts at once.

Run as `python -m tests.crash.sweep DATASET FOLDER NAME[:ARGUMENT...] ...`; prints one JSON line for each, or fails.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.lab import KILLED, Lab, metrics, wait
from tests.crash.moments import ERRORS, FULL, KILL, TORN, Moments


def moments(lab: Lab) -> list[str]:
    """Every moment of a whole run, by kind."""
    counted = Moments(lab.run_dir, KILL, 0)
    note = lab.folder / "kinds.json"
    lab.clear()
    code = lab.train(prepare=counted.install, finish=lambda: _note(note, counted))
    assert code == 0, lab.said()
    kinds: list[str] = json.loads(note.read_text())
    return kinds


def _note(path: Path, counted: Moments) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(descriptor, json.dumps(counted.kinds).encode())


def strike(lab: Lab, fault: str, number: int) -> int:
    """A run from the beginning with one fault; returns its exit code."""
    lab.clear()
    return lab.train(prepare=Moments(lab.run_dir, fault, number).install)


def faults(lab: Lab, fault: str, every: int, first: int = 1) -> dict[str, Any]:
    """`fault` at every `every`-th moment of a run; each time it goes on afterwards to the same end."""
    kinds = moments(lab)
    ended: Counter[str] = Counter()
    for number in range(first, len(kinds) + 1, every):
        code = strike(lab, fault, number)
        where = f"{fault} at moment {number} of {len(kinds)} ({kinds[number - 1]})"
        assert code == KILLED if fault in (KILL, TORN) else code in (0, 4), f"{where}: {code}\n{lab.said()}"
        try:
            valid = lab.valid_checkpoints()
            if fault in (*ERRORS, FULL) and kinds[number - 1] not in ("unlink", "remove"):
                litter = [path.name for path in lab.run_dir.glob(".*.tmp")]
                assert not litter, litter
            lab.finish_and_compare(judgements=fault in (KILL, TORN))
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error
        ended[f"exit {code}, {min(valid, 2)} or more valid"] += 1
    return {"fault": fault, "moments": len(kinds), "struck": ended.total(), **ended}


def kills(lab: Lab, count: int, seed: int = 0) -> dict[str, Any]:
    """SIGKILL at random instants, a new run each time."""
    chance, seconds, hit = random.Random(seed), duration(lab), 0
    for _ in range(count):
        lab.clear()
        hit += kill_after(lab, chance.uniform(0, seconds)) == KILLED
        lab.valid_checkpoints()
        lab.finish_and_compare()
    return {"kills": count, "struck": hit, "seconds": seconds}


def chain(lab: Lab, count: int, seed: int = 0) -> dict[str, Any]:
    """The same run killed `count` times before it may end, each part soon enough that it cannot reach the end."""
    # A part starts in a quarter of a whole run's moments, and then saves once or twice.
    chance, whole = random.Random(seed), len(moments(lab))
    lab.clear()
    reached: list[int] = []
    for _ in range(count):
        code = lab.train(
            prepare=Moments(lab.run_dir, KILL, chance.randint(whole * 27 // 100, whole * 43 // 100)).install
        )
        assert code == KILLED, f"the run ended after {len(reached)} kills\n{lab.said()}"
        lab.valid_checkpoints()
        reached.append(max((row["step"] for row in metrics(lab.run_dir)), default=0))
    lab.finish_and_compare()
    return {"kills": count, "reached": reached}


def duration(lab: Lab) -> float:
    """Seconds of a whole run."""
    lab.clear()
    began = time.monotonic()
    assert lab.train() == 0, lab.said()
    return time.monotonic() - began


def kill_after(lab: Lab, seconds: float, sent: signal.Signals = signal.SIGKILL) -> int:
    """Start or go on, and send a signal at an instant; returns the exit code."""
    pid = lab.start()
    time.sleep(seconds)
    os.kill(pid, sent)
    return wait(pid)


def signals(lab: Lab, count: int, seed: int = 0) -> dict[str, Any]:
    """TERM, INT, HUP and USR1 at random instants: what is on disk is the last step that was told."""
    chance, seconds = random.Random(seed), duration(lab)
    ended: Counter[str] = Counter()
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    codes = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 143, signal.SIGUSR1: 0}
    for number in range(count):
        sent = kinds[number % len(kinds)]
        lab.clear()
        code = kill_after(lab, chance.uniform(0, seconds), sent)
        # Before training begins there is nothing to save, and TERM and HUP end the process as they end any other.
        assert code in (codes[sent], 0, -sent), f"{sent.name}: {code}\n{lab.said()}"
        assert "Traceback" not in lab.said()
        saved = lab.valid_checkpoints()
        assert saved or code == -sent or not (lab.run_dir / "metrics.jsonl").exists() or code == 130
        lab.finish_and_compare()
        ended[f"{sent.name} {code}"] += 1
    return dict(ended)


def starts(lab: Lab, count: int) -> dict[str, Any]:
    """`count` starts at once in one directory: one trains, the others say who has it."""
    lab.clear()
    pids = [lab.start(extra=(), said=f"said{number}.txt") for number in range(count)]
    codes = [wait(pid) for pid in pids]
    assert codes.count(0) == 1, codes
    for number, code in enumerate(codes):
        said = lab.said(f"said{number}.txt")
        assert code == 0 or (code == 4 and "in use by" in said) or (code == 2 and "already holds a run" in said), said
    lab.finish_and_compare()
    return {"starts": count, **{f"exit {code}": codes.count(code) for code in sorted(set(codes))}}


SWEEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "faults": faults,
    "kills": kills,
    "chain": chain,
    "signals": signals,
    "starts": starts,
}


def main(data: str, folder: str, *wanted: str) -> None:
    lab = Lab(Path(data), Path(folder))
    for sweep in wanted:
        name, *rest = sweep.split(":")
        arguments: list[Any] = [int(text) if text.isdigit() else text for text in rest]
        print(json.dumps({"sweep": sweep, **SWEEPS[name](lab, *arguments)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
