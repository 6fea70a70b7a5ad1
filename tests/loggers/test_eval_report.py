"""The HTML report of an evaluation: one page that loads nothing and believes nothing."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nima_cli.errors import ResourceError
from nima_cli.loggers.eval_report import report_page, write_report

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\x1b[2J\u202e\ud800 $x^2$"
FIGURES = {"loss": 2.0, "perplexity": 7.4, "accuracy": 0.5, "bits_per_byte": 1.25, "tokens": 1234, "bytes": 5678}
BASELINES = {"unigram": 2.5, "5-gram": 1.5, "xz": 2.0, "zstd": None}


def row(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, **FIGURES, "baselines": BASELINES, "behind": [], **changes}


def evaluation(word: str = "word") -> dict[str, Any]:
    """A result with everything in it; `word` is in every place that is not ours."""
    return {
        "checkpoint": f"runs/{word}", "data": word, "split": "test", "dtype": "float32", "step": 12,
        "parameters": 43232, **FIGURES, "behind": [], "verdict": f"ahead, but behind on {word}",
        "baselines": [{"name": name, "bits_per_byte": bits, "note": word} for name, bits in BASELINES.items()],
        "by": {
            "source": [row(word), row("other", behind=["xz"]), row("empty", bits_per_byte=None)],
            "kind": [row("prose", baselines=BASELINES | {"xz": None})],
        },
        "writing": {
            "texts": 1, "tokens": 9, "finished": 1, "fences": {"opened": 4, "closed": 2, "cut": 1},
            "blocks": {name: {"checked": 2, "valid": 1} for name in ("yaml", "json", "shell")},
            "shell_checked": False,
            "copies": {
                "at_least": 16, "share": 0.25, "longest": 20, "longest_text": word, "held_out_share": 0.1,
                "held_out_longest": 30,
            },
            "samples": [{"prompt": word, "text": word, "seed": 0, "tokens": 9, "finished": True}],
        },
        "answers": {
            "asked": 1, "held_out": 7, "f1": 0.5, "exact_match": 0.0,
            "samples": [{"question": word, "expected": word, "answer": word, "f1": 0.5, "exact": 0.0}],
        },
    }  # fmt: skip


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_that_was_found_is_on_the_page() -> None:
    page = Reader(report_page(evaluation()))
    assert page.open == []
    for words in ("1.250", "7.40", "50.0%", "Ahead, but behind on word.", "By source", "By kind", "2 of 3", "no bash"):
        assert words in page.text, words
    for words in ("25.0%", "What it answers", "1 of 7", "The longest copy", "10.0%", "30 tokens"):
        assert words in page.text, words
    assert [tag for tag, _ in page.tags].count("img") == 3


def test_only_what_was_asked_for_has_a_section() -> None:
    result = {key: value for key, value in evaluation().items() if key not in ("baselines", "writing", "answers")}
    result["by"] = {"source": [{"name": "a", **FIGURES}]}
    page = Reader(report_page(result))
    assert "By source" in page.text
    assert "xz" not in page.text
    assert "What it" not in page.text


def test_foreign_text_stays_text() -> None:
    plain, evil = Reader(report_page(evaluation())), Reader(report_page(evaluation(EVIL)))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert evil.text.count("<script>alert(1)</script>") >= 10
    assert "\\u001b[2J\\u202e\\ud800" in evil.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", evil.text)


def test_the_page_loads_nothing() -> None:
    page = report_page(evaluation(EVIL))
    tags = Reader(page).tags
    assert "script" not in {tag for tag, _ in tags}
    for tag, attributes in tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("href", "srcset", "style")}
        if "src" in attributes:
            assert (attributes["src"] or "").startswith("data:image/svg+xml;base64,"), tag
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page
    for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", page):
        picture = base64.b64decode(data).decode()
        assert not re.search(r"<script|<image|<foreignObject|href=\"(?!#)", picture)


def test_equal_evaluations_give_equal_pages() -> None:
    assert report_page(evaluation()) == report_page(evaluation())


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_report(tmp_path / "ü [1].html", evaluation())
    assert (tmp_path / "ü [1].html").read_text("utf-8") == report_page(evaluation())
    with pytest.raises(ResourceError, match="cannot write"):
        write_report(tmp_path / "nowhere" / "x.html", evaluation())
    assert [path.name for path in tmp_path.iterdir()] == ["ü [1].html"]
