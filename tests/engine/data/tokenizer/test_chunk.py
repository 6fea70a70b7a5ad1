"""Splitting loses nothing, fits, and cuts at the best boundary."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.document import Kind, Turn
from nima_cli.engine.data.tokenizer.chunk import split_conversation, split_text
from tests.growth import assert_near_linear

PROSE: list[Kind] = ["text", "markdown"]
LINE_POOL = ["# Head", "word " * 9, "", "", "```", "    code", "- item", "x" * 70, "ünï ", "Title", "=====", "\ttab"]
TEXTS = st.lists(st.sampled_from(LINE_POOL), max_size=40).map("\n".join)


def texts(text: str, kind: Kind, count: Callable[[str], int], limit: int) -> list[str]:
    """Chunks without the headings above them."""
    return [chunk.text for chunk in split_text(text, kind, count, limit, heading_context=False)]


def words(text: str) -> int:
    return len(text.split())


@given(TEXTS, st.sampled_from(PROSE), st.integers(1, 60))
def test_nothing_is_lost_and_everything_fits(text: str, kind: Kind, limit: int) -> None:
    pieces = texts(text, kind, len, limit)
    assert "".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)


@given(TEXTS, st.integers(4, 60))
def test_a_count_with_boundary_symbols(text: str, limit: int) -> None:
    pieces = texts(text, "markdown", lambda part: len(part) + 2, limit)
    assert "".join(pieces) == text
    assert all(len(piece) + 2 <= limit for piece in pieces)


@given(st.text(max_size=50), st.integers(1, 9))
def test_only_a_single_character_may_be_too_long(text: str, limit: int) -> None:
    pieces = texts(text, "text", lambda part: len(part.encode("utf-8", "surrogatepass")), limit)
    assert "".join(pieces) == text
    assert all(len(piece.encode("utf-8", "surrogatepass")) <= limit or len(piece) == 1 for piece in pieces)


@given(TEXTS, st.integers(3, 60))
def test_a_count_that_is_not_additive(text: str, limit: int) -> None:
    def count(part: str) -> int:
        return len(part) + (len(part) // 7 if "#" in part else 0)

    pieces = texts(text, "markdown", count, limit)
    assert "".join(pieces) == text
    assert all(count(piece) <= limit for piece in pieces)


def test_what_fits_is_one_piece() -> None:
    assert texts("# a\n\nb", "markdown", words, 3) == ["# a\n\nb"]
    assert texts("", "text", len, 1) == [""]


def test_headings_come_first_then_paragraphs() -> None:
    text = "# A\n\none two\n\nthree four\n\n# B\n\nfive six\n\n# C\n\nseven\n"
    assert texts(text, "markdown", words, 9) == [
        "# A\n\none two\n\nthree four\n\n",
        "# B\n\nfive six\n\n# C\n\nseven\n",
    ]
    assert texts(text, "markdown", words, 4) == [
        "# A\n\none two\n\n",
        "three four\n\n",
        "# B\n\nfive six\n\n",
        "# C\n\nseven\n",
    ]


def test_a_half_full_piece_ends_before_a_heading() -> None:
    first, second, rest = "# A\n\na b c d\n\n", "# B\n\ne\n\nf g h\n\n", "i j k\n\nl m n\n"
    assert texts(first + second + rest, "markdown", words, 10) == [first, second + "i j k\n\n", "l m n\n"]


def test_boundary_symbols_are_counted_once_per_piece() -> None:
    text = "a\n\n" * 40
    pieces = texts(text, "markdown", lambda part: words(part) + 2, 12)
    assert pieces == ["a\n\n" * 10] * 4


def test_titles_of_restructured_text_are_headings() -> None:
    text = "One\n===\n\na b c\n\nd e\n\nTwo\n===\n\nf g\n\nh i\n"
    assert texts(text, "text", words, 8) == ["One\n===\n\na b c\n\nd e\n\n", "Two\n===\n\nf g\n\nh i\n"]


def test_a_mark_in_a_fence_is_no_heading() -> None:
    fence = "```sh\n# not a heading\n\nls -l\n```\n"
    text = f"one two three four five\n\n{fence}\nsix seven eight nine\n"
    assert texts(text, "markdown", words, 9) == [
        "one two three four five\n\n",
        f"{fence}\n",
        "six seven eight nine\n",
    ]


@given(st.integers(0, 40), st.integers(1, 12), st.integers(20, 60), st.booleans())
def test_a_fence_that_fits_is_never_cut(before: int, inside: int, limit: int, nested: bool) -> None:
    margin = "  " if nested else ""
    fence = "".join(f"{margin}{line}\n" for line in ["```", *(f"c{n}" for n in range(inside)), "", "# x", "```"])
    text = "- item\n\n" * nested + "w w\n\n" * (0 if nested else before) + fence + "\n" + margin + "z z z\n" * before
    pieces = texts(text, "markdown", len, limit)
    assert len(fence) > limit or any(fence in piece for piece in pieces)


def test_a_fence_of_exactly_the_limit_stays_whole() -> None:
    fence = "```\nabc\ndef\n```\n"
    pieces = texts(f"x\n\n{fence}\n\n\ny\n", "markdown", len, len(fence))
    assert fence in pieces


def test_pieces_are_well_filled() -> None:
    text = "\n\n".join("word " * (3 + n % 17) for n in range(400))
    pieces = texts(text, "markdown", words, 100)
    assert len(pieces) <= words(text) / 100 * 1.2


def test_a_long_line_is_cut_at_white_space() -> None:
    text = "alpha beta gamma delta " * 30
    for piece in texts(text, "text", len, 50):
        assert piece.endswith(" ")


@pytest.mark.parametrize("unit", ["a", "word ", "line\n", "para\n\n", "# h\n", "- i\n", "```\n"])
def test_cost_is_near_linear_in_the_length(unit: str) -> None:
    counted = 0

    def count(part: str) -> int:
        nonlocal counted
        counted += len(part)
        return len(part)

    text = unit * (96_000 // len(unit))
    pieces = texts(text, "markdown", count, 500)
    assert "".join(pieces) == text
    assert counted < 9 * len(text)
    assert_near_linear(lambda size: texts(text[:size], "markdown", len, 500), 6_000, 96_000)


def turn(index: int, size: int = 1) -> Turn:
    return Turn("assistant" if index % 2 else "user", f"{index} " * size)


def count_turns(turns: tuple[Turn, ...]) -> int:
    return sum(words(one.content) + 1 for one in turns)


def test_conversations_are_cut_between_exchanges() -> None:
    system = Turn("system", "be kind")
    turns = (system, *(turn(index) for index in range(8)))
    pieces = split_conversation(turns, count_turns, 11)
    assert pieces == [(system, *turns[1:5]), (system, *turns[5:9])]
    assert split_conversation(turns, count_turns, 19) == [turns]


def test_an_exchange_that_is_too_long_is_kept_whole() -> None:
    turns = (turn(0), turn(1), turn(2), turn(3, 50), turn(4), turn(5))
    assert split_conversation(turns, count_turns, 8) == [turns[:2], turns[2:4], turns[4:]]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=20), st.booleans(), st.integers(4, 40))
def test_no_turn_is_lost(sizes: list[int], with_system: bool, limit: int) -> None:
    system = (Turn("system", "s"),) if with_system else ()
    spoken = tuple(turn(index, size) for index, size in enumerate(sizes[: len(sizes) // 2 * 2]))
    pieces = split_conversation((*system, *spoken), count_turns, limit)
    assert all(piece[: len(system)] == system for piece in pieces)
    assert tuple(one for piece in pieces for one in piece[len(system) :]) == spoken
    assert all(count_turns(piece) <= limit or len(piece) == len(system) + 2 for piece in pieces)
