"""Links and pictures leave their words, by the structure of Markdown; code and footnotes stay."""

import pytest

from nima_cli.engine.data.cleaning.links import strip_links
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts
from tests.growth import assert_near_linear


@pytest.mark.parametrize(
    ("text", "expected", "links"),
    [
        ('a [b](c) ![i](x "t") [[n]](u(v)) `[b](c)` [ref][1] [empty]()', "a b i [n] `[b](c)` [ref][1] empty", 4),
        ("[![alt](img)](target) [![a](b) c](d)", "alt a c", 4),
        ("[a](<my guide.md>) [b](n.md 'more') [c](n.md (more)) [d]( n.md )", "a b c d", 4),
        ("[two\nlines](x.md) and [a](\nx.md\n'title')", "two\nlines and a", 2),
        ("<https://x.y/z> and <a@b.c>, but <b> and <name>", "https://x.y/z and a@b.c, but <b> and <name>", 2),
        ("[a][t], [t][], [T], ![p][t] and [u]\n\n[t]: https://x.y 'title'\n", "a, t, T, p and [u]\n\n", 5),
        ("[t]: x\n[u]:\n  <y z>\n  'over\n  lines'\n[t]: again\nText", "Text", 3),
        ("Text\n[t]: x is no definition here", "Text\n[t]: x is no definition here", 0),
        ("Note[^1], [^2].\n\n[^1]: x.y\n[^2]: See [a](b).", "Note[^1], [^2].\n\n[^1]: x.y\n[^2]: See a.", 1),
        ("- [ ] task\n- [x] [a](b)\n  1. ![c](d)", "- [ ] task\n- [x] a\n  1. c", 2),
        ("> - [a](b\n>   'c') d\n>   [e](f)", "> - a d\n>   e", 2),
        ("# [a](b) #\n\n[c](d)\n===", "# a #\n\nc\n===", 2),
        ("| [a](b) | x\\|y [c](d) |\n|---|---|\n| [a](b) | [a](b) |", "| a | x\\|y c |\n|---|---|\n| a | a |", 4),
        ("- \t[a](b)\n\n  \tc [d](e)", "- \ta\n\n  \tc d", 2),
        ("![a [b](c) ![d](e)](f)", "a b d", 3),
        ("\\[a](b) [a\\]](b) `` [a](b) ` ``", "\\[a](b) a\\] `` [a](b) ` ``", 1),
        ("<div>\n[a](b) <img src='[c](d)'>\n</div>", "<div>\na <img src='[c](d)'>\n</div>", 1),
        ("<!-- [a](b) -->\n\n[c](d)", "<!-- [a](b) -->\n\nc", 1),
        ('---\ntitle: "[a](b)"\n---\n[c](d)', '---\ntitle: "[a](b)"\n---\nc', 1),
        ("[a](javascript:b) ![c](data:image/svg+xml,d)", "a c", 2),
        ("[a](b)\r\n[c](d)", "a\nc", 2),
    ],
)  # fmt: skip
def test_targets_go_and_words_stay(text: str, expected: str, links: int) -> None:
    report = CleaningCounts()
    assert strip_links(text, report) == expected
    assert report.links == links
    assert strip_links(expected, CleaningCounts()) == expected


@pytest.mark.parametrize(
    "code",
    [
        "```\n[a](b)\n[c]: d\n```",
        "    [a](b)",
        "- x\n\n  ~~~\n  <https://x.y>\n  ~~~",
        "<div>\n<pre>\n[a](b)\n\n[a](b)\n</pre>\n</div>",
    ],
)
def test_code_stays(code: str) -> None:
    assert strip_links(f"[a](b)\n\n{code}\n\n[a](b)", CleaningCounts()) == f"a\n\n{code}\n\na"


def test_only_data_uris_go_on_request() -> None:
    text = "[a](b) ![c](data:,d) [e][f] <data:g,h> [i]\n\n[f]: data:image/png;base64,…\n[i]: j\n"
    report = CleaningCounts()
    assert strip_links(text, report, only_data=True) == "[a](b) c e data:g,h [i]\n\n[i]: j\n"
    assert (report.links, report.data_uris) == (0, 2)


UNITS = ["[", "[a](", "![", "![a](", "[a](b) ", "[a][", "[a]: b\n", "[a]: (", "[a](b '", "[a](<", "<a:", "<a@",
         "> [a](b)\n", "- [a](b)\n", "| [a](b) ", "[[a](b)](c)", "![[a](b)", "[a](b\n",
         "<div>\n<pre>\n\n", "\\[", "<", "`"]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_cost_is_near_linear(unit: str) -> None:
    def work(size: int) -> None:
        strip_links("[t](u)\n\n" + unit * (size // len(unit)), CleaningCounts())

    assert_near_linear(work, 2_000, 32_000)
