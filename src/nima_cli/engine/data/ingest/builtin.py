"""The embedded source: documents and questions from the documentation that is installed with nima.

It comes from the standard library, the language topics of `pydoc` and nima's dependencies, none of them imported.
Equal versions give equal documents everywhere.
"""

import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from pydoc_data.topics import topics

from nima_cli.config.data_schema import BUILTIN_SOURCE
from nima_cli.engine.data.document import Document, Turn
from nima_cli.engine.data.ingest.docstrings import DocEntry, read_added, read_source

# Raise it when the layout below changes, so that older datasets count as stale.
LAYOUT = 1

# Import name -> distribution name of nima's dependencies.
PACKAGES = {
    "filelock": "filelock", "markdown_it": "markdown-it-py", "matplotlib": "matplotlib", "numpy": "numpy",
    "platformdirs": "platformdirs", "prompt_toolkit": "prompt_toolkit", "pydantic": "pydantic",
    "pydantic_settings": "pydantic-settings", "rich": "rich", "tensorboard": "tensorboard", "torch": "torch",
    "typer": "typer", "yaml": "PyYAML",
}  # fmt: skip
# Files whose calls attach docstrings to compiled functions -> owner of the bare names in them.
ATTACHED = {
    "numpy/_core/_add_newdocs.py": "numpy",
    "torch/_tensor_docs.py": "torch.Tensor",
    "torch/_torch_docs.py": "torch",
    "torch/fft/__init__.py": "torch.fft",
    "torch/linalg/__init__.py": "torch.linalg",
    "torch/nn/functional.py": "torch.nn.functional",
    "torch/special/__init__.py": "torch.special",
}
# Tests, vendored copies, generated or retired code without documentation for users, and parts of the standard library
# that some systems leave out, so that equal versions would not give equal documents.
SKIPPED = frozenset({
    "antigravity", "ao", "backends", "benchmarks", "caffe2", "conftest", "distutils", "drawing",
    "dist-packages", "ensurepip", "extern", "externals", "f2py", "fx", "idlelib", "lib-dynload", "lib2to3",
    "msilib", "onnx", "plugins", "pydoc_data", "readwrite", "site-packages", "test", "testing", "tests", "this",
    "tkinter", "turtle", "turtledemo", "v1", "vendor", "vendored",
})  # fmt: skip
# Longer docstrings read better on the page of their module than as an answer.
_ANSWER_CHARACTERS = 1500
_QUESTIONS = {
    "function": ("What does `{}` do?", "What is `{}` for?", "Explain `{}`.", "How do I call `{}`?"),
    "class": ("What is the class `{}`?", "What is `{}` used for?", "Explain the class `{}`."),
}
_EXAMPLE_QUESTIONS = ("How do I use `{}`?", "Show me how `{}` works, with an example.")


def builtin_versions() -> dict[str, str]:
    """Return the versions of everything in the embedded source; equal versions give equal documents."""
    versions = {"layout": str(LAYOUT), "python": platform.python_version()}
    for module, distribution in PACKAGES.items():
        if importlib.util.find_spec(module) is not None:
            try:
                versions[module] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                versions[module] = "unknown"
    return versions


def builtin_documents(source_index: int) -> Iterator[Document]:
    """Yield pages and question/answer pairs in a fixed order.

    Each docstring appears once, on a page or as an answer, so that no answer in one split is on a page in another.
    """
    for name, text in sorted(topics.items()):
        where = f"{BUILTIN_SOURCE}: {name}"
        yield Document("text", source_index, where, text=inspect.cleandoc(text))
    seen: set[bytes] = set()
    for module, entries in _modules():
        page, answers = list[DocEntry](), list[DocEntry]()
        for entry in entries:
            # Inherited and copied docstrings are taken where they come first.
            key = hashlib.blake2b(" ".join(entry.doc.split()).encode(), digest_size=16).digest()
            if key not in seen:
                seen.add(key)
                (answers if _is_answer(entry) else page).append(entry)
        where = f"{BUILTIN_SOURCE}: {module}"
        if page:
            yield Document("markdown", source_index, where, text=_page(module, page))
        for entry in answers:
            yield Document("qa", source_index, where, turns=_pair(entry))


def _choice(entry: DocEntry, purpose: str, options: int) -> int:
    """A number below `options` that depends only on the name of the entry."""
    digest = hashlib.blake2b(f"{purpose} {entry.name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % options


def _is_answer(entry: DocEntry) -> bool:
    return entry.kind != "module" and len(entry.doc) <= _ANSWER_CHARACTERS and _choice(entry, "use", 2) == 0


def _page(module: str, entries: Sequence[DocEntry]) -> str:
    parts = [f"# {module}"]
    for entry in entries:
        if entry.kind != "module":
            parts.append(f"## {'class ' if entry.kind == 'class' else ''}`{entry.signature}`")
        parts.append(entry.doc)
    return "\n\n".join(parts) + "\n"


def _pair(entry: DocEntry) -> tuple[Turn, Turn]:
    questions = _EXAMPLE_QUESTIONS if "```" in entry.doc else _QUESTIONS[entry.kind]
    question = questions[_choice(entry, "question", len(questions))]
    called = entry.kind == "function" and "call" in question
    answer = f"```python\n{entry.signature}\n```\n\n{entry.doc}" if called else entry.doc
    return Turn("user", question.format(entry.name)), Turn("assistant", answer)


def _modules() -> Iterator[tuple[str, list[DocEntry]]]:
    """Yield (module, its entries): the standard library first, then the packages."""
    library = Path(sysconfig.get_path("stdlib"))
    for module, file in _python_files(library, ""):
        yield module, read_source(file, module)
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        locations = list(spec.submodule_search_locations or ()) if spec else []
        for folder in map(Path, locations[:1]):
            for relative, owner in ATTACHED.items():
                if relative.startswith(f"{package}/"):
                    yield owner, read_added(folder.parent / relative, owner)
            for module, file in _python_files(folder, package):
                yield module, read_source(file, module)


def _python_files(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Yield (module, file) below a folder by name, except private modules and `SKIPPED`."""
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        name = f"{package}.{entry.stem}" if package else entry.stem
        if entry.name == "__init__.py" and package:
            yield package, entry
        elif entry.stem in SKIPPED or entry.name.startswith(("_", ".")) or not entry.stem.isidentifier():
            continue
        elif entry.suffix == ".py":
            yield name, entry
        elif entry.is_dir():
            yield from _python_files(entry, name)
