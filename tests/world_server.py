"""Forks processes of the program from one that has imported torch: a world of four starts in a blink.

Reads requests from stdin, one JSON object a line, and answers each with one on stdout. A program of its own, because
the process of the tests has threads and must not be forked.
"""

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed

import nima_cli.engine.training.session  # noqa: F401  imported once, for all that are forked
from nima_cli.cli.app import main

_WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}


def serve() -> None:
    """Answer until stdin ends."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = _start(request) if "args" in request else _wait(request["pids"], request["seconds"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _start(request: dict[str, Any]) -> list[int]:
    """One process for each environment; returns their ids."""
    pids = []
    for rank, environ in enumerate(request["environs"]):
        pid = os.fork()
        if not pid:
            _become_the_program(request, Path(request["folder"]), rank, environ)
        pids.append(pid)
    return pids


def _become_the_program(request: dict[str, Any], folder: Path, rank: int, environ: dict[str, str]) -> None:
    code = 1
    try:
        os.environ.update(environ)
        os.chdir(request["cwd"])
        streams = (Path(os.devnull), folder / f"stdout.{rank}", folder / f"stderr.{rank}")
        for number, path in enumerate(streams):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), number)
        sys.argv = ["nima", *request["args"]]
        written = _watch_writes()
        _stop_at_save(request["stop_at_save"])
        try:
            _run(request["args"])
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / f"written.{rank}").write_text("\n".join(list(written)), encoding="utf-8")
    finally:
        os._exit(code)


def _run(args: list[str]) -> None:
    module, _, function = args[0].partition(":")
    if function:
        getattr(importlib.import_module(module), function)(*args[1:])
    else:
        main()


def _watch_writes() -> list[str]:
    """Every file that this process opens for writing from now on, and every name it makes, moves or removes."""
    found: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith(("/dev/", "/proc/")):
                found.append(f"open {path}")
        elif event in _WRITES:
            found.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    return found


def _stop_at_save(number: int) -> None:
    """Signal this process while it saves its last checkpoint for the n-th time; 0 never does."""
    saves: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith("checkpoint_last.pt"):
            saves.append(event)
            if len(saves) == number:
                os.kill(os.getpid(), signal.SIGTERM)

    sys.addaudithook(hook)


def _wait(pids: list[int], seconds: float) -> list[int | None]:
    """Exit codes, negative for a signal; None for those that are still there after that time, which are ended."""
    end = time.monotonic() + seconds
    codes: dict[int, int | None] = {}
    while len(codes) < len(pids) and time.monotonic() < end:
        for pid in set(pids) - codes.keys():
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for pid in set(pids) - codes.keys():
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        codes[pid] = None
    return [codes[pid] for pid in pids]


if __name__ == "__main__":
    serve()
