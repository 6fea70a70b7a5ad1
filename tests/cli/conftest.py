"""One tiny run made by the real program, and the program itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest

from tests.cli.programs import CONFIG, Nima, in_this_process, start
from tests.conftest import Ran


@dataclass(frozen=True)
class TinyRun:
    """A finished run, the dataset it learned from, and what the program printed. Not to be changed."""

    run_dir: Path
    data: Path
    config: Path
    ran: Ran

    def copy(self, folder: Path) -> Path:
        """The run directory again, under `folder`."""
        return copytree(self.run_dir, folder / self.run_dir.name)


@pytest.fixture
def nima(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Nima]:
    """Run the program in this process, with a home of its own and one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(
        *args: str | Path, stdin: bytes = b"", cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Ran:
        return in_this_process(monkeypatch, home, args, stdin=stdin, cwd=cwd, env=env)

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """`nima train` in a process of its own, in folders whose names want to be quoted."""
    folder = tmp_path_factory.mktemp("tiny") / "a folder [with] ünusual 名字 {x}"
    data = copytree(tiny_dataset, folder / "the data")
    config = folder / "tiny config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    run_dir = folder / "the run [1]"
    process = start(
        ("train", "-c", config, "--data", data, "--output-dir", run_dir, "--json"), tmp_path_factory.mktemp("home")
    )
    stdout, stderr = process.communicate(timeout=120)
    return TinyRun(run_dir, data, config, Ran(process.returncode, stdout.decode(), stderr.decode()))
