"""Code blocks of a text: closed, parsing, and never run."""

import shutil
from pathlib import Path

import pytest

from nima_cli.engine.evaluation.code_validity import CodeBlock, code_blocks

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def blocks(text: str, after: int = 0) -> list[CodeBlock]:
    return code_blocks(text, after=after, bash=shutil.which("bash"))


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ("a: 1\nb:\n  - c", True),
        ("a: 1\n---\nb: 2", True),
        ("a: [1", False),
        ("a: 1\n b: 2", False),
        ("a:\n\tb: 1", False),
        ("a: &x [1]\nb: [*x, *x]", True),
        ("[" * 900, False),
    ],
)
def test_yaml(content: str, valid: bool) -> None:
    assert blocks(f"x\n```yaml\n{content}\n```\n") == [CodeBlock("yaml", True, valid)]


@pytest.mark.parametrize(
    ("content", "valid"), [('{"a": [1, null]}', True), ('{"a": 1,}', False), ("[" * 100_000, False)]
)
def test_json(content: str, valid: bool) -> None:
    assert blocks(f"```json\n{content}\n```") == [CodeBlock("json", True, valid)]


@needs_bash
@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ("for f in *; do echo $f; done", True),
        ("if true; then", False),
        ("echo 'open", False),
        ("$ ls |\\\n  wc -l\nls: (no) such ;; output", True),
        ("$ echo )", False),
    ],
)
def test_shell(content: str, valid: bool) -> None:
    assert blocks(f"```sh\n{content}\n```") == [CodeBlock("shell", True, valid)]


@needs_bash
def test_shell_text_is_read_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rc").write_text("touch sourced\n")
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "rc"))
    content = f"touch {tmp_path}/ran; $(touch {tmp_path}/ran)\nset +n\ntouch {tmp_path}/ran"
    assert blocks(f"```bash\n{content}\n```") == [CodeBlock("shell", True, True)]
    assert [path.name for path in tmp_path.iterdir()] == ["rc"]


def test_without_bash_shell_text_is_not_judged() -> None:
    assert code_blocks("```sh\nif\n```", after=0, bash=None) == [CodeBlock("shell", True, None)]
    assert code_blocks("```sh\nif\n```", after=0, bash="/no/such/program") == [CodeBlock("shell", True, None)]


def test_open_fences_and_those_that_came_with_the_prompt() -> None:
    prompt = "```yaml\na: [\n```\n\n````md\n"
    assert blocks(prompt + "```yaml\na: 1\n```", len(prompt)) == [CodeBlock("", False, None)]
    assert blocks(prompt + "```\n````\n\n- x\n\n  ~~~json\n  []\n  ~~~~\n", len(prompt)) == [
        CodeBlock("", True, None),
        CodeBlock("json", True, True),
    ]
    assert blocks("```yaml\na: 1\n    ```\n") == [CodeBlock("yaml", False, None)], "four spaces make it content"
    assert blocks("- ```yaml\n  a: 1\n\nafter the list") == [CodeBlock("yaml", False, None)]
    assert blocks("```yaml\n") == [CodeBlock("yaml", False, None)]
    assert blocks("~~~yaml a`b\na: 1\n~~~\n") == [CodeBlock("yaml", True, True)], "tildes allow backticks behind them"
    assert blocks("no code") == []
