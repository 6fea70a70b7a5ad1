"""The embedded source: documents and questions from the documentation already on this machine.

It reads the standard library of the running Python, the language topics of `pydoc`, and the packages that nima depends
on, without importing any of it. For given versions of these the result is the same everywhere.
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

# Raised when the layout below changes, so that datasets made with the old one are known as stale.
LAYOUT = 1

# Import name -> distribution name: what nima itself depends on.
PACKAGES = {
    "filelock": "filelock", "markdown_it": "markdown-it-py", "matplotlib": "matplotlib", "numpy": "numpy",
    "platformdirs": "platformdirs", "prompt_toolkit": "prompt_toolkit", "pydantic": "pydantic",
    "pydantic_settings": "pydantic-settings", "rich": "rich", "tensorboard": "tensorboard", "torch": "torch",
    "typer": "typer", "yaml": "PyYAML",
}  # fmt: skip
# Files whose calls attach documentation to compiled functions -> what a bare name in them belongs to.
ATTACHED = {
    "numpy/_core/_add_newdocs.py": "numpy",
    "torch/_tensor_docs.py": "torch.Tensor",
    "torch/_torch_docs.py": "torch",
    "torch/fft/__init__.py": "torch.fft",
    "torch/linalg/__init__.py": "torch.linalg",
    "torch/nn/functional.py": "torch.nn.functional",
    "torch/special/__init__.py": "torch.special",
}
# No documentation for users in there (tests, vendored copies, generated or retired code), or parts of the standard
# library that some systems leave out, so that equal versions would not give equal documents.
SKIPPED = frozenset(
    {
        "antigravity", "ao", "backends", "benchmarks", "caffe2", "conftest", "distutils", "drawing",
        "dist-packages", "ensurepip", "extern", "externals", "f2py", "fx", "idlelib", "lib-dynload", "lib2to3",
        "msilib", "onnx", "plugins", "pydoc_data", "readwrite", "site-packages", "test", "testing", "tests", "this",
        "tkinter", "turtle", "turtledemo", "v1", "vendor", "vendored",
    }
)  # fmt: skip
# Longer documentation reads better on its module's page than as an answer.
_ANSWER_CHARACTERS = 1500
_QUESTIONS = {
    "function": ("What does `{}` do?", "What is `{}` for?", "Explain `{}`.", "How do I call `{}`?"),
    "class": ("What is the class `{}`?", "What is `{}` used for?", "Explain the class `{}`."),
}
_EXAMPLE_QUESTIONS = ("How do I use `{}`?", "Show me how `{}` works, with an example.")


def builtin_versions() -> dict[str, str]:
    """Versions of all that the embedded source is made of; equal versions give equal documents."""
    versions = {"layout": str(LAYOUT), "python": platform.python_version()}
    for module, distribution in PACKAGES.items():
        if importlib.util.find_spec(module) is not None:
            try:
                versions[module] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                versions[module] = "unknown"
    return versions


def builtin_documents(source_index: int) -> Iterator[Document]:
    """Yield the documents and question/answer pairs in a fixed order.

    A documentation string is used once, on its module's page or as an answer, so that no answer in one split can be
    read on a page in another.
    """
    for name, text in sorted(topics.items()):
        where = f"{BUILTIN_SOURCE}: {name}"
        yield Document("text", source_index, where, text=inspect.cleandoc(text))
    seen: set[bytes] = set()
    for module, entries in _modules():
        fresh = [entry for entry in entries if _first_time(entry.doc, seen)]
        answers = [entry for entry in fresh if _is_answer(entry)]
        page = [entry for entry in fresh if not _is_answer(entry)]
        where = f"{BUILTIN_SOURCE}: {module}"
        if page:
            yield Document("markdown", source_index, where, text=_page(module, page))
        for entry in answers:
            yield Document("qa", source_index, where, turns=_pair(entry))


def _first_time(doc: str, seen: set[bytes]) -> bool:
    """Inherited and copied documentation is taken where it comes first."""
    key = hashlib.blake2b(" ".join(doc.split()).encode(), digest_size=16).digest()
    known = key in seen
    seen.add(key)
    return not known


def _choice(entry: DocEntry, purpose: str, options: int) -> int:
    """A number below `options` that depends on the entry's name alone."""
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
    """Yield (module, its entries), the standard library first, then the packages by name."""
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
    """Yield (module, file) below `folder` in the order of their names; private modules and `SKIPPED` are left out."""
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
