"""Metadata goes and its title stays as it was written; what is no mapping is text."""

import pytest

from nima_cli.engine.data.cleaning.front_matter import FrontMatter, read_front_matter
from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.cleaning.markup import strip_markup
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from tests.growth import assert_near_linear


def strip(text: str) -> str:
    return strip_markup(text, CleaningCounts())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\ntitle: Pods\nweight: 1\n---\nText\n", "# Pods\n\nText\n"),
        ('---\nweight: 1\nTitle: "A: b # c"\n...\n\nText', "# A: b # c\n\nText"),
        ("---\ntitle: >-\n  Two\n  lines\ntags:\n- a\n---\nText", "# Two lines\n\nText"),
        ("---\ntitle: Pods\n---\n# Own heading\n", "# Own heading\n"),
        ("---\ntitle: Pods\n---\nOwn\n===\n", "Own\n===\n"),
        ("---\ntitle: Pods\n---\n```\n# comment\n```\n", "# Pods\n\n```\n# comment\n```\n"),
        ("---\nweight: 1\n---\nText", "Text"),
        ("---\ntitle: [broken\n---\nText", "# [broken\n\nText"),
        ("---\ntitle: 2024\n---\nText", "# 2024\n\nText"),
        ("---\ntitle: {a: b}\n---\nText", "Text"),
        ("---\ntitle: Only\n---\n", "# Only"),
        ('+++\ntitle = "Pods"\ntags = [\n"a"]\n+++\nText', "# Pods\n\nText"),
        ("+++\nno toml\n+++\nText", "+++\nno toml\n+++\nText"),
        ("---\nsome words\n---\nText", "---\nsome words\n---\nText"),
        ("---\n\ntitle: x\n---\nText", "---\n\ntitle: x\n---\nText"),
        ("---\r\ntitle: Pods\r\n---\r\nText", "# Pods\n\nText"),
    ],
)
def test_front_matter_goes_and_its_title_stays(text: str, expected: str) -> None:
    assert strip(text) == expected


def test_a_mark_that_is_never_closed_is_no_front_matter() -> None:
    assert read_front_matter("---\n" + "a: 1\n" * 5000) is None
    assert read_front_matter("---\ntitle: a\n---") == FrontMatter(3, "a")


@pytest.mark.parametrize(
    "title",
    ["1.10", "On", "no", "2024-01-01", "1:30", "0x1F", "010", "1_000", "1e3", "true", "Off: the switch", "=", "3."],
)
def test_a_title_is_what_was_written(title: str) -> None:
    assert strip(f"---\ntitle: {title}\nweight: 3\n---\nText") == f"# {title}\n\nText"
    assert strip(f'---\ntitle: "{title}"\n---\nText') == f"# {title}\n\nText"


@pytest.mark.parametrize("title", ["1.10", "2024-01-01", "7", "true", "10:30:00"])
def test_a_title_in_toml_is_what_was_written(title: str) -> None:
    assert strip(f"+++\ntitle = {title}\n+++\nText") == f"# {title}\n\nText"


@pytest.mark.parametrize("title", ["", "~", "null", "[a]", "{a: b}", "|"])
def test_no_title_is_made_of_what_is_no_text(title: str) -> None:
    assert strip(f"---\ntitle: {title}\n---\nText") == "Text"


@pytest.mark.parametrize(
    "remark",
    [
        "Note: this page is old. See also: the other one.",
        "Note: this page\nis old.",
        "- a list",
        "# A heading",
        "Some words.",
        "Note: [open",
        "a: b\n\nA paragraph.",
    ],
)
def test_a_remark_between_two_rules_is_text(remark: str) -> None:
    text = f"---\n{remark}\n---\n\nText"
    assert read_front_matter(text) is None
    assert strip(text) == text
    assert all(block.kind != "front_matter" for block in blocks(text))


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "\n\n",
        "a: b",
        "# remark\na: b",
        "description: |-\n  Words: more\n\n  Words\nb: {c: d}",
        "tags:\n- a\n- b\nwhen: 12:30",
        "'a b': \"c: d\"",
        "a:\tb",
    ],
)
def test_a_mapping_is_metadata_and_so_is_nothing(metadata: str) -> None:
    lines = [*(["---", *metadata.split("\n")] if metadata else ["---"]), "---"]
    text = "\n".join([*lines, "Text"])
    assert read_front_matter(text) == FrontMatter(len(lines), "")
    assert strip(text) == "Text"
    assert strip("+++\n+++\nText") == "Text"


@pytest.mark.parametrize(
    "unit", ["a: b\n", "[", "a: [", "{a: ", '"', "a: 'b\n", "- ", "? ", "&a ", "a: b: ", "#", ":", "a"]
)
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        for end in ("\n---\n", "\n"):
            read_front_matter("---\na: b\n" + unit * (size // len(unit)) + end)

    assert_near_linear(work, 5_000, 80_000)
