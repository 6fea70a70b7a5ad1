"""`DataSource` is what the guide shows, and the example of the guide runs as written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nima_cli.config.data_schema import DataConfig, SourceConfig
from nima_cli.engine import DataSource
from nima_cli.errors import InputError

GUIDE = Path(__file__).parents[3] / "docs" / "python.md"


def test_it_is_a_source_config() -> None:
    source = DataSource("kubernetes.md", "markdown", weight=2.0)
    assert source.model_dump() == SourceConfig(path="kubernetes.md", format="markdown", weight=2.0).model_dump()
    assert DataSource(Path("a") / "b.md").path == str(Path("a") / "b.md")
    assert DataConfig(sources=[source]).model_dump()["sources"] == [source.model_dump()]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"format": "pdf"}, "format"),
        ({"weight": 0}, "weight"),
        ({"wieght": 2.0}, "wieght"),
    ],
)
def test_what_cannot_be_is_an_input_error(arguments: dict[str, object], key: str) -> None:
    with pytest.raises(InputError, match=f"DataSource x.md: `{key}`"):
        DataSource("x.md", **arguments)  # type: ignore[arg-type]


def test_the_example_of_the_guide_runs(tiny_corpus: Path, tmp_path: Path) -> None:
    example, *_ = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert len(example.strip().splitlines()) <= 10
    (tmp_path / "kubernetes.md").write_text((tiny_corpus / "queue.md").read_text("utf-8"), "utf-8")
    (tmp_path / "questions.json").write_text((tiny_corpus / "qa.json").read_text("utf-8"), "utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert "DatasetReady" in ran.stdout.splitlines()[-1]
    sources = json.loads((tmp_path / "data" / "dataset_metadata.json").read_text("utf-8"))["sources"]
    assert sorted((one["name"], one["format"], one["weight"], one["kept"]) for one in sources) == [
        ("kubernetes.md", "markdown", 2.0, 1), ("questions.json", "qa", 1.0, 32),
    ]  # fmt: skip
