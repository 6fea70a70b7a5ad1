"""Turns source code into Markdown: the file's name as the heading, the code in a fence, byte for byte."""

import re

from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.writing import code_block

# Suffix -> language of a fence.
LANGUAGES = {
    ".bash": "bash", ".c": "c", ".cc": "cpp", ".cjs": "javascript", ".clj": "clojure", ".cmake": "cmake",
    ".cpp": "cpp", ".cs": "csharp", ".cts": "typescript", ".cu": "cuda", ".cxx": "cpp", ".dart": "dart",
    ".erl": "erlang", ".ex": "elixir", ".exs": "elixir", ".f90": "fortran", ".fish": "fish", ".fs": "fsharp",
    ".go": "go", ".gradle": "groovy", ".groovy": "groovy", ".h": "c", ".hh": "cpp", ".hpp": "cpp", ".hs": "haskell",
    ".java": "java", ".jl": "julia", ".js": "javascript", ".jsx": "jsx", ".kt": "kotlin", ".kts": "kotlin",
    ".lisp": "lisp", ".lua": "lua", ".mjs": "javascript", ".ml": "ocaml", ".mli": "ocaml", ".mts": "typescript",
    ".nim": "nim", ".nix": "nix", ".php": "php", ".pl": "perl", ".pm": "perl", ".proto": "protobuf",
    ".ps1": "powershell", ".py": "python", ".pyi": "python", ".pyx": "cython", ".r": "r", ".rb": "ruby",
    ".rs": "rust", ".scala": "scala", ".scm": "scheme", ".sh": "bash", ".sql": "sql", ".svelte": "svelte",
    ".swift": "swift", ".tf": "hcl", ".ts": "typescript", ".tsx": "tsx", ".vue": "vue", ".zig": "zig", ".zsh": "zsh",
}  # fmt: skip
# Names of files without a suffix.
NAMES = {"dockerfile": "dockerfile", "containerfile": "dockerfile", "makefile": "makefile", "gnumakefile": "makefile",
         "rakefile": "ruby", "gemfile": "ruby", "justfile": "just", "jenkinsfile": "groovy"}  # fmt: skip
_SHEBANG = re.compile(r"#!\s*\S*?(?:/env\s+(?:-S\s+)?(?:\w+=\S*\s+)*)?([A-Za-z]+)[\d.]*(?:\s|$)")
_INTERPRETERS = {"sh": "bash", "dash": "bash", "ksh": "bash", "node": "javascript", "Rscript": "r",
                 "pwsh": "powershell"}  # fmt: skip
# Minified code has more characters a line on average; short files are not judged.
_MINIFIED = 400
_SHORT = 2000


def code_to_markdown(text: str, file_name: str) -> str:
    """Fence the code under the file's name; raises `UnusableError` for minified code."""
    text = text.replace("\r\n", "\n")
    code = text.strip("\n")
    if len(code) > _SHORT and len(code) > _MINIFIED * (code.count("\n") + 1):
        raise UnusableError("is minified code", "minified", hint="to learn its text as it is, use `format: text`")
    if not code.strip():
        return ""
    return f"# {file_name}\n\n{code_block(code, _language(file_name, code))}\n"


def _language(file_name: str, code: str) -> str:
    stem, dot, suffix = file_name.lower().rpartition(".")
    shebang = _SHEBANG.match(code[:200])
    named = (LANGUAGES.get(dot + suffix) if stem else None) or NAMES.get(file_name.lower())
    return named or (_INTERPRETERS.get(shebang[1], shebang[1].lower()) if shebang else "")
