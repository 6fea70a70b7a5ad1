"""What many tests share: the real program in a subprocess, a small corpus, and a dataset prepared from it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine.data.prepare import prepare
from nima_cli.events import DatasetReady
from tests.imports import loads, module_name

# Fixtures that train, or run the program where torch is imported; tests that run it elsewhere carry the mark.
_RUN_TORCH = {"nima", "tiny_run"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules unread, and folders by their `conftest.py`, whose tests would not run but import torch."""
    module = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    if "not torch" not in config.getoption("markexpr") or module.suffix != ".py" or not module.exists():
        return None
    return loads(module_name(module), "torch") or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests for which torch is imported, and those that run the whole program: `make unit` leaves them out."""
    for item in items:
        module = item.module.__name__  # type: ignore[attr-defined]
        fixtures: Sequence[str] = getattr(item, "fixturenames", ())
        if loads(module, "torch") or not _RUN_TORCH.isdisjoint(fixtures):
            item.add_marker("torch")
        if "run_cli" in fixtures:
            item.add_marker("program")


# Machines are shared: how long an example takes says nothing.
settings.register_profile("nima", deadline=None)
settings.load_profile("nima")


@dataclass(frozen=True)
class Ran:
    """How a run of the program ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.stdout)


class RunCli(Protocol):
    """`nima` with these arguments."""

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Ran: ...


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs that nima compiles are kept, so that it compiles them once and not once a test."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Path:
    """A folder for nima's own files, empty but for what it has compiled."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "compiled").symlink_to(compiled)
    return folder


@pytest.fixture
def run_cli(home: Path) -> RunCli:
    """Run the real program in a process of its own, with a home of its own, and catch what it prints."""

    def run(
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        timeout: float = 120,
    ) -> Ran:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("NIMA_")}
        fixed = {"COLUMNS": "100", "NO_COLOR": "1", "NIMA_HOME": str(home), "PYTHONUTF8": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "nima_cli", *map(str, args)],
            env={**inherited, **fixed, **(env or {})},
            cwd=cwd,
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


_SUBJECTS = (
    ("scheduler", "assigns pods to nodes", "kubectl get nodes"),
    ("cache", "keeps recent answers in memory", "cachectl stats --reset"),
    ("gateway", "routes requests to services", "gateway reload -f routes.yaml"),
    ("registry", "stores and signs images", "registry push app:1.4"),
    ("tokenizer", "turns text into token ids", "python -m tokenize file.py"),
    ("controller", "compares desired and actual state", "controller --watch --interval 30s"),
    ("queue", "delivers every message once", "queue drain --timeout 5m"),
    ("volume", "survives the restart of a container", "mount -t ext4 /dev/sdb1 /data"),
)
_DETAILS = (
    "It retries a failed step three times and then reports the reason.",
    "Its settings live in one file, and a restart is never needed.",
    "It listens on port 8080; metrics are served under `/metrics`.",
    "Logs are structured: one JSON object a line, with a timestamp.",
    "A lock makes sure that only one instance is active at a time.",
    "Limits are counted per minute, and rejected calls get status 429.",
)


def _article(name: str, does: str, command: str, number: int) -> str:
    first, second = _DETAILS[number % 6], _DETAILS[(number + 2) % 6]
    return (
        f"# The {name}\n\nThe {name} {does}. {first}\n\n## Configure the {name}\n\n{second}\n\n"
        f"```yaml\n# a comment, no heading\n{name}:\n  replicas: {number + 1}\n\n\n  labels:\n\ttier: backend\n```\n\n"
        f"## Run it\n\n```bash\n$ {command}\n```\n\n- step {number}: start the {name}\n- check that it {does}\n"
    )


def _questions() -> list[dict[str, str]]:
    pairs = []
    for number, (name, does, command) in enumerate(_SUBJECTS):
        pairs += [
            {"question": f"What does the {name} do?", "answer": f"The {name} {does}. {_DETAILS[number % 6]}"},
            {"question": f"How do I run the {name}?", "answer": f"Use this command:\n\n```bash\n{command}\n```"},
            {"question": f"Why does the {name} fail?", "answer": f"Look at its log. {_DETAILS[(number + 1) % 6]}"},
            {"question": f"Where is the {name} set up?", "answer": f"In `{name}.yaml`. {_DETAILS[(number + 3) % 6]}"},
        ]
    return pairs


def _chats() -> list[dict[str, list[dict[str, str]]]]:
    return [
        {
            "messages": [
                {"role": "system", "content": "You answer questions about the platform."},
                {"role": "user", "content": f"Tell me about the {name}."},
                {"role": "assistant", "content": f"The {name} {does}."},
                {"role": "user", "content": "And how is it started?"},
                {"role": "assistant", "content": f"With `{command}`. {_DETAILS[number % 6]}"},
            ]
        }
        for number, (name, does, command) in enumerate(_SUBJECTS)
    ]


def _write_json(path: Path, value: Sequence[object]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def write_corpus(folder: Path) -> Path:
    """A folder of technical text: 8 Markdown files, 4 text files and three JSON files, 68 documents in all."""
    for number, (name, does, command) in enumerate(_SUBJECTS):
        (folder / f"{name}.md").write_text(_article(name, does, command, number), encoding="utf-8")
        if number % 2:
            notes = "".join(f"{name} note {n}: {_DETAILS[(n * number) % 6]}\n\n\n" for n in range(12))
            (folder / f"{name}.txt").write_text(f"Notes on the {name} ({does})\n\n{notes}", encoding="utf-8")
    _write_json(folder / "qa.json", _questions())
    _write_json(folder / "chat.json", _chats())
    docs = [
        {"title": f"{name.title()} guide {part}", "content": f"The {name} {does}.\n\n{_DETAILS[(number + part) % 6]}"}
        for number, (name, does, _) in enumerate(_SUBJECTS)
        for part in (1, 2)
    ]
    _write_json(folder / "docs.json", docs)
    return folder


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`write_corpus`, made once; not to be changed."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tiny_dataset(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset prepared from `tiny_corpus` with a vocabulary of 512, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("dataset") / "tiny"
    config = DataConfig(sources=[SourceConfig(path=str(tiny_corpus))], vocab_size=512, max_length=128)
    events = list(prepare(config, folder, overwrite=False, workers=2))
    assert isinstance(events[-1], DatasetReady)
    return folder
