"""A checkpoint alone, in an empty folder, without a network, is enough; and nothing is loaded that is not needed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tests.cli.programs import environment

# Refuses every connection from inside, too, where the system does not let a test cut the network.
PROGRAM = """
import json, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"{event} was called")
sys.addaudithook(refuse)
from nima_cli.cli.app import main
main()
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
COMMANDS = [
    ("chat", "--once", "What is a queue?", "--max-new-tokens", "8"),
    ("chat", "--max-new-tokens", "8"),
    ("generate", "--prompt", "The queue", "--max-new-tokens", "8"),
]


def cut_off() -> tuple[str, ...]:
    """What runs a command without any network, where this system has it and allows it."""
    command = ("unshare", "--net", "--map-root-user")
    if shutil.which("unshare") is None:
        return ()
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else ()


@pytest.mark.torch
@pytest.mark.parametrize("arguments", COMMANDS, ids=["once", "pipe", "generate"])
def test_one_file_is_enough(arguments: tuple[str, ...], tiny_run: TinyRun, tmp_path: Path) -> None:
    folder, home = tmp_path / "empty", tmp_path / "home"
    folder.mkdir()
    shutil.copy(tiny_run.run_dir / "checkpoint_best.pt", folder / "best.pt")
    command, *rest = arguments
    done = subprocess.run(
        [*cut_off(), sys.executable, "-c", PROGRAM, command, "--checkpoint", "best.pt", *rest],
        cwd=folder,
        env={**environment(home), "HOME": str(home)},
        input=b"What is a queue?\nAnd why?\n",
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"\n") >= (2 if rest[0] == "--max-new-tokens" else 1)
    assert [path.name for path in folder.iterdir()] == ["best.pt"]
    modules = set(json.loads(done.stderr.decode().splitlines()[-1]))
    assert "torch" in modules
    compilers = {"sympy", "torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes"}
    assert modules & {*compilers, "prompt_toolkit", "matplotlib", "tensorboard", "wandb", "transformers"} == set()
