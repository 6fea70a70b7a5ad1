"""What the source never does: run what a file says, use a shell, work inside a signal handler, name a flag."""

import ast
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import nima_cli

SOURCE = Path(nima_cli.__file__).parent
SOURCES = {str(path.relative_to(SOURCE)): ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
# Modules that run what they read, however they are called.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load",
    "yaml.load_all", "yaml.UnsafeLoader", "yaml.FullLoader", "torch.jit.load", "torch.hub.load", "torch.package",
    "runpy.run_path", "runpy.run_module",
}  # fmt: skip
UNSAFE_KEYWORDS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}


def dangers(tree: ast.AST) -> Iterator[str]:
    """Every construct of a module that could execute foreign text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in UNSAFE_CALLS:
            yield f"{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {problem}" for problem in _call_dangers(node))


def _call_dangers(call: ast.Call) -> Iterator[str]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    for name, value in UNSAFE_KEYWORDS:
        given = keywords.get(name)
        if given is not None and not (isinstance(given, ast.Constant) and given.value is not value):
            yield f"{name} is not literally {not value}"
    if ast.unparse(call.func) == "yaml.load":
        loader = keywords.get("Loader") or (call.args[1] if len(call.args) > 1 else None)
        if loader is None or not any(safe in ast.unparse(loader) for safe in ("Safe", "BaseLoader")):
            yield "yaml.load without a safe loader"
    if ast.unparse(call.func) == "torch.load":
        given = keywords.get("weights_only")
        if not (isinstance(given, ast.Constant) and given.value is True):
            yield "torch.load without weights_only=True"


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_runs_what_a_file_says(name: str) -> None:
    assert [f"{name}:{problem}" for problem in dangers(SOURCES[name])] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads as read",
        "def f(): import dill",
        "value = eval('1')",
        "exec(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "subprocess.run(line, shell=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "os.system(line)",
    ],
)
def test_a_danger_is_seen(line: str) -> None:
    assert list(dangers(ast.parse(line)))


def test_torch_itself_reads_no_file() -> None:
    def uses(tree: ast.AST) -> bool:
        named = any(
            isinstance(node, ast.ImportFrom) and node.module == "torch" and any(a.name == "load" for a in node.names)
            for node in ast.walk(tree)
        )
        return named or any(isinstance(n, ast.Attribute) and ast.unparse(n) == "torch.load" for n in ast.walk(tree))

    assert [name for name, tree in SOURCES.items() if uses(tree)] == []


def test_signal_handlers_only_set_a_flag() -> None:
    """All that a handler calls: what names the signal, and giving it back to the system."""
    functions = [node for node in ast.walk(SOURCES[str(Path("cli", "stop.py"))]) if isinstance(node, ast.FunctionDef)]
    handlers = [node for node in functions if [arg.arg for arg in node.args.args] == ["number", "frame"]]
    assert len(handlers) == 2, "one to stop, one to save"
    allowed = {"signal.Signals", "signal.Signals(number).name.removeprefix", "signal.signal"}
    for handler in handlers:
        for node in ast.walk(handler):
            assert not isinstance(node, ast.Import | ast.ImportFrom | ast.With | ast.Raise), "it does too much"
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) in allowed, f"it calls {ast.unparse(node.func)}"
                if ast.unparse(node.func) == "signal.signal":
                    assert ast.unparse(node.args[1]) == "signal.SIG_DFL"


def test_nothing_else_installs_handlers() -> None:
    users = {
        name
        for name, tree in SOURCES.items()
        if any(isinstance(n, ast.Attribute) and ast.unparse(n) == "signal.signal" for n in ast.walk(tree))
    }
    # The workers of a preparation ignore Ctrl-C: the parent decides what it means.
    assert users == {str(Path("cli", "stop.py")), str(Path("engine", "data", "parallel.py"))}


ENGINE = sorted(path for path in (SOURCE / "engine").rglob("*") if path.suffix in (".py", ".h", ".cpp"))


# Flags of programs that the engine runs.
OTHERS_FLAGS = {
    "package_index.py": {
        "--no-deps", "--only-binary", "--dest", "--no-input", "--progress-bar", "--disable-pip-version-check",
    },
}  # fmt: skip


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_engine_names_no_flag(path: Path) -> None:
    """It names an option as a parameter or a setting; `cli.flag_names` makes the flags of the command out of them."""
    named = set(re.findall(r"--[a-z][a-z-]*", path.read_text("utf-8")))
    assert named == OTHERS_FLAGS.get(path.name, set())


STOPPING = """
import os, signal, sys
from nima_cli.cli import stop
stop.install(again_ends={again_ends})
os.kill(os.getpid(), signal.{name})
print(stop.requested(), flush=True)
os.kill(os.getpid(), signal.{name})
print("still here", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("again_ends", [True, False])
def test_a_signal_is_remembered_and_a_second_one_ends_the_process(name: str, again_ends: bool) -> None:
    script = textwrap.dedent(STOPPING.format(name=name, again_ends=again_ends))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    first = name.removeprefix("SIG")
    assert done.stdout.split("\n")[0] == first
    if again_ends:
        assert done.stdout == f"{first}\n"
        assert done.returncode == -getattr(signal, name)
    else:
        assert done.stdout == f"{first}\nstill here\n"
        assert done.returncode == 0
