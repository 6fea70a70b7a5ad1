"""Who may import whom, read from the source itself: floors, the engine's own ladder, heavy libraries, no cycles."""

import ast
import graphlib
from collections.abc import Iterator

import pytest

from tests.imports import SOURCES, Import, imports

FLOORS = {
    "": 0, "errors": 0, "files": 0, "config": 1, "events": 2, "curves": 2, "engine": 3, "ui": 3, "loggers": 3,
    "cli": 4, "__main__": 5,
}  # fmt: skip
ENGINE_LADDER: dict[str, float] = {
    "": 7, "cores": 1, "device": 1, "packages": 1, "machine_memory": 1, "kernels": 0, "data": 2, "model": 2,
    "checkpoint": 3, "checkpoint.files": 1, "inference": 4, "training": 5, "export": 5, "pretrained": 5,
    "evaluation": 6,
    # What puts kernels into a model from outside stands above both.
    "kernels.forward": 2.5, "kernels.convert": 3, "kernels.trust": 3.5, "kernels.decoder": 4.5,
}  # fmt: skip
# Modules of one floor that stand beside each other, and which of them may still use which.
BESIDE = {
    ("files", "errors"),
    ("curves", "events"),
}
# library: (where it may be used anywhere, where only inside functions).
ROOMS = {
    "torch": ("engine", ""), "sentencepiece": ("engine", ""), "typer": ("cli", ""), "rich": ("ui", "cli"),
    "prompt_toolkit": ("", "ui"), "plotext": ("", "ui"), "matplotlib": ("", "loggers"), "tensorboard": ("", "loggers"),
    "wandb": ("", "loggers"), "pydantic": ("config", ""), "yaml": ("config", ""), "numpy": ("engine", ""),
    "pathspec": ("engine", "config"),
}  # fmt: skip


# A data source validates its settings like the config does; front matter
# is YAML, and so may be what a model writes.
GUESTS = {
    ("nima_cli.engine.data.data_source", "pydantic"),
    ("nima_cli.engine.data.cleaning.front_matter", "yaml"),
    ("nima_cli.engine.evaluation.code_validity", "yaml"),
    ("nima_cli.ui.chat_prompt", "prompt_toolkit"),  # which is itself imported only where there is a terminal
}


def part(module: str, depth: int) -> str:
    """The component of a module's name at `depth`; empty for the package itself."""
    return [*module.split("."), "", ""][depth]


def ours(module: str) -> bool:
    return module.split(".")[0] == "nima_cli"


def step_of(module: str) -> str:
    """The most particular entry of the engine's ladder for a module."""
    parts = module.split(".")[2:]
    return next(name for end in range(len(parts), -1, -1) if (name := ".".join(parts[:end])) in ENGINE_LADDER)


def upward(found: Import) -> bool:
    """Whether this import goes up, or sideways into another room."""
    importer, imported = part(found.importer, 1), part(found.imported, 1)
    ranks: dict[str, float] = {**FLOORS}
    if importer == imported == "engine":
        importer, imported, ranks = step_of(found.importer), step_of(found.imported), ENGINE_LADDER
    if (importer, imported) in BESIDE or (imported == "" and ranks is not ENGINE_LADDER):
        return False
    if importer.split(".")[0] == imported.split(".")[0]:
        return ranks[importer] < ranks[imported]
    return ranks[importer] <= ranks[imported]


def misplaced(found: Import) -> bool:
    """Whether a library is used in a room that must not know it."""
    library, room = part(found.imported, 0), part(found.importer, 1)
    if (found.importer, library) in GUESTS:
        return False
    anywhere, in_functions = ROOMS.get(library, (room, ""))
    return room != anywhere and not (room == in_functions and (found.lazy or found.typing))


ALL = [found for name, source in SOURCES.items() for found in imports(name, source)]


def test_nothing_imports_upward_or_sideways() -> None:
    assert [str(found) for found in ALL if ours(found.imported) and upward(found)] == []


def test_events_and_errors_import_nothing_of_ours() -> None:
    assert [
        str(found) for found in ALL if ours(found.imported) and part(found.importer, 1) in ("events", "errors")
    ] == []


def test_libraries_stay_in_their_rooms() -> None:
    assert [str(found) for found in ALL if misplaced(found)] == []


def test_there_is_no_cycle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in SOURCES}
    for found in ALL:
        if ours(found.imported) and found.imported != "nima_cli":
            graph[found.importer].add(found.imported)
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(SOURCES)


def engine_calls() -> Iterator[tuple[str, ast.AST, str]]:
    for name, source in SOURCES.items():
        if part(name, 1) == "engine":
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Name | ast.Attribute):
                    yield name, node, ast.unparse(node)


def test_the_engine_neither_prints_nor_reads_the_environment() -> None:
    banned = {"print", "os.environ", "os.getenv", "os.environb", "sys.stdout", "sys.stderr", "sys.argv", "input"}
    found = [f"{name}: {text}" for name, node, text in engine_calls() if text in banned]
    assert found == []
    taken = {"environ", "getenv", "stdout", "stderr", "argv"}
    for name, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)) if part(name, 1) == "engine" else ():
            if isinstance(node, ast.ImportFrom) and node.module in ("os", "sys"):
                assert not taken & {alias.name for alias in node.names}, f"{name}:{node.lineno}"


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("nima_cli.events", "import nima_cli.errors as e; from nima_cli.engine.model import gpt"),
        ("nima_cli.files", "from nima_cli.config.schema import Config"),
        ("nima_cli.config.load", "def f():\n from nima_cli.engine.device import Device"),
        ("nima_cli.ui.tables", "from nima_cli.engine.checkpoint.file import find"),
        ("nima_cli.engine.device", "from nima_cli.ui import console"),
        ("nima_cli.loggers.jsonl", "from nima_cli.ui import console"),
        ("nima_cli.engine.device", "from nima_cli.cli import stop"),
        ("nima_cli.engine.data.store.dataset", "from nima_cli.engine.model.gpt import GPT"),
        ("nima_cli.engine.model.gpt", "from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer"),
        ("nima_cli.engine.model.gpt", "from nima_cli.engine import checkpoint"),
        ("nima_cli.engine.model.gpt", "if TYPE_CHECKING:\n from nima_cli.engine.kernels.forward import NativeForward"),
        ("nima_cli.engine.kernels.functions", "from nima_cli.engine.model.gpt import GPT"),
        ("nima_cli.engine.kernels.build", "from nima_cli.engine.kernels.convert import convert"),
        ("nima_cli.engine.checkpoint.files", "from nima_cli.engine.checkpoint.file import load"),
        ("nima_cli.engine.inference.text", "from nima_cli.engine.training.loss import IGNORE"),
        ("nima_cli.engine.data.prepare", "from nima_cli.engine import Trainer"),
        ("nima_cli.engine.checkpoint.file", "if TYPE_CHECKING:\n from nima_cli.engine.training.step import TrainStep"),
    ],
)
def test_a_forbidden_edge_is_seen(importer: str, line: str) -> None:
    assert any(upward(found) for found in imports(importer, line) if ours(found.imported))


@pytest.mark.parametrize(
    ("importer", "line", "forbidden"),
    [
        ("nima_cli.cli.commands.train", "import torch.nn", True),
        ("nima_cli.ui.tables", "def f():\n import torch", True),
        ("nima_cli.ui.plots", "import plotext", True),
        ("nima_cli.ui.plots", "def f():\n import plotext", False),
        ("nima_cli.loggers.jsonl", "from torch.utils import tensorboard", True),
        ("nima_cli.engine.device", "import torch", False),
        ("nima_cli.ui.tables", "import typer", True),
        ("nima_cli.cli.commands.plot", "from rich.live import Live", True),
        ("nima_cli.cli.commands.plot", "def f():\n from rich.live import Live", False),
        ("nima_cli.engine.device", "import rich", True),
    ],
)
def test_a_library_out_of_its_room_is_seen(importer: str, line: str, forbidden: bool) -> None:
    assert any(misplaced(found) for found in imports(importer, line)) == forbidden
