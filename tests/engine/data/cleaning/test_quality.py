"""Filters drop what they say, by figures that can be recomputed, and nothing unless they are asked."""

import pytest

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.quality import (
    boilerplate_lines,
    boilerplate_problem,
    count_lines,
    non_text,
    quality_problem,
    repetition,
)
from nima_cli.engine.data.document import Document, Turn
from tests.growth import assert_near_linear

PROSE = (
    "A pod is a group of containers that share storage and network. It is the smallest unit that can be deployed.\n"
    "Controllers compare what should run with what does run, and act until both are the same. Nothing is done twice.\n"
)


def document(text: str) -> Document:
    return Document("markdown", 0, "x.md", text=text)


def test_nothing_but_short_documents_goes_by_default() -> None:
    hostile = ["a" * 5000, "QUJDZGVm0123+/aZ" * 99, "= " * 99, PROSE * 9, "{};()" * 99]
    assert [quality_problem(document(text), DataConfig()) for text in hostile] == [None] * 5
    short = quality_problem(document("  too short  "), DataConfig())
    assert short is not None
    assert (short.reason, short.figures, str(short)) == ("too_short", (("characters", 9),), "x.md: has 9 characters")


def test_length_counts_what_is_said_in_all_turns() -> None:
    talk = Document("qa", 0, "x", turns=(Turn("user", " a" * 10), Turn("assistant", "b " * 10)))
    found = quality_problem(talk, DataConfig(min_length=39))
    assert found is not None
    assert dict(found.figures) == {"characters": 38}
    assert quality_problem(talk, DataConfig(min_length=38)) is None


def test_long_documents_go_on_request() -> None:
    config = DataConfig(max_characters=100)
    found = quality_problem(document("x" * 101), config)
    assert found is not None
    assert found.reason == "too_long"
    assert quality_problem(document("x" * 100), config) is None


def test_repetition_is_the_larger_of_lines_and_runs() -> None:
    assert repetition(PROSE) == 0
    assert repetition("") == 0
    assert repetition("same line here\n" * 4) == 0.75
    assert repetition("one two three four five six seven eight nine ten " * 4) == 0.75
    assert 0.4 < repetition(f"{PROSE}\nbetween\n{PROSE}") < 0.6


def test_repetition_is_found_where_no_spaces_stand_between_words() -> None:
    said = "打开阀门然后等待压力下降再关闭主泵并检查所有管路是否漏水"
    assert repetition(said) == 0
    assert 0.4 < repetition(f"首先{said}其次{said}") < 0.6


def test_what_repeats_itself_goes_on_request() -> None:
    config = DataConfig(max_repetition=0.6)
    found = quality_problem(document(PROSE * 3), config)
    assert found is not None
    assert (found.reason, found.figures) == ("repetitive", (("repetition", 0.6667),))
    assert quality_problem(document(PROSE * 2), config) is None


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        (PROSE, 0, 0.01),
        ("Über Änderungen in 你好世界 и так далее, 2024.", 0, 0.01),
        ("หน้านี้บอกวิธีเปลี่ยนไส้กรองของปั๊มน้ำ ในเวลาสั้น", 0, 0.01),
        ("打开阀门，等压力下降。「完成」（见下）", 0, 0.01),
        ("QUJDZGVm0123+/aZ" * 20, 1, 1),
        ("k8s-aws-v1." + "a" * 60, 0, 0.1),
        ("{}[]<>@#$%^&*" * 10, 1, 1),
        ("if (x == 1) { y += 2; }", 0.1, 0.5),
        ("", 0, 0),
    ],
)
def test_the_share_that_is_no_language(text: str, least: float, most: float) -> None:
    assert least <= non_text(text) <= most


def test_what_is_no_language_goes_on_request() -> None:
    found = quality_problem(document("QUJDZGVm0123+/aZ" * 20), DataConfig(max_non_text=0.5))
    assert found is not None
    assert (found.reason, found.figures) == ("non_text", (("non_text", 1.0),))
    assert quality_problem(document(PROSE), DataConfig(max_non_text=0.1)) is None


def test_boilerplate_is_what_very_many_documents_of_a_source_share() -> None:
    footer = "Edit this page on the site, or open an issue there."
    pages = [document(f"{footer}\n\nPage {n} says something that only it says, at length.") for n in range(20)]
    pages.append(document(f"{footer}\nshort"))
    [counts] = count_lines(pages).values()
    [half], [rest] = count_lines(pages[::2]).values(), count_lines(pages[1::2]).values()
    lines = boilerplate_lines(counts, len(pages))
    assert lines == boilerplate_lines(half + rest, len(pages))
    assert len(lines) == 1
    problems = [boilerplate_problem(page, lines, 0.9) for page in pages]
    assert problems[:20] == [None] * 20
    assert problems[20] is not None
    assert problems[20].reason == "boilerplate"


@pytest.mark.parametrize("unit", ["a", "a ", "a\n", "QUJDZGVm0123+/aZ", "{"])
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        text = unit * (size // len(unit))
        repetition(text)
        non_text(text)

    assert_near_linear(work, 30_000, 480_000)
