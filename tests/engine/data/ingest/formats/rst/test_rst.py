"""reStructuredText comes out as the Markdown a reader of its page would write; code is exact, markup is gone."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.engine.data.ingest.formats.rst.rst import rst_to_markdown
from tests.growth import assert_near_linear


def converted(text: str) -> str:
    return rst_to_markdown(textwrap.dedent(text).strip("\n"))


@pytest.mark.parametrize(
    ("rst", "markdown"),
    [
        (":func:`print` and :meth:`~a.b.C.run`", "`print()` and `run()`"),
        (":class:`~collections.abc.Set` :py:mod:`os.path`", "`Set` `os.path`"),
        (":c:func:`!malloc` :func:`f(x)`", "`malloc()` `f(x)`"),
        (":ref:`the tutorial <tut>` and :ref:`nowhere`", "the tutorial and nowhere"),
        (":pep:`8` :pep:`the guide <8>` :rfc:`2822#section-3`", "PEP 8 the guide RFC 2822"),
        (":option:`-v` :envvar:`HOME` :file:`lib/{name}.py`", "`-v` `HOME` `lib/name.py`"),
        (":term:`iterable`\\ s, :abbr:`LIFO (last in)`", "iterables, LIFO (last in)"),
        ("``a  b`` and ``\\n`` and ``x`y``", "`a  b` and `\\n` and ``x`y``"),
        ("*one* **two** `three`", "*one* **two** `three`"),
        ("\\*args, a\\ b, \\\\n", "*args, ab, \\n"),
        ("`text <https://a.org/x>`_ `more\nwords <https://b.org>`__", "[text](https://a.org/x) [more\nwords](https://b.org)"),
        ("Python_ and `the site`_\n\n.. _Python: https://p.org\n.. _the site: https://s.org/a",
         "[Python](https://p.org) and [the site](https://s.org/a)"),
        ("one__ and `two`__\n\n__ https://1.org\n.. __: https://2.org", "[one](https://1.org) and [two](https://2.org)"),
        ("snake_case_ and _private and x_", "snake_case_ and _private and x_"),
        ("Note [1]_ and [#a]_ and [#]_ and [CIT]_", "Note [^1] and [^a] and [^#] and [CIT]"),
        ("|v| is out, |unknown| not\n\n.. |v| replace:: *Two* ``2``", "*Two* `2` is out, |unknown| not"),
        (":math:`x^2` :strong:`b` :kbd:`C-c`", "$x^2$ **b** `C-c`"),
        ("`x`:code: and 10:30 :a:", "`x` and 10:30 :a:"),
    ],
)  # fmt: skip
def test_inline(rst: str, markdown: str) -> None:
    assert rst_to_markdown(rst) == markdown


@pytest.mark.parametrize(
    ("rst", "markdown"),
    [
        ("A\n=\n\nA title\n=======\n\nSub\n---\n\nThird\n=====\n", "A\n=\n\n# A title\n\n## Sub\n\n# Third\n"),
        ("====\nBook\n====\n\nPart\n====\n\n*****\n Sec\n*****\n\nb", "# Book\n\n## Part\n\n### Sec\n\nb"),
        ("a\n\n------\n\nb", "a\n\n---\n\nb"),
        ("* one\n  two\n* three\n\n  more\n\n  - deep\n", "- one\n  two\n- three\n\n  more\n\n  - deep\n"),
        ("#. a\n#. b\n\n(3) c", "1. a\n2. b\n\n3. c"),
        ("3. c\n4. d\n   e", "3. c\n4. d\n   e"),
        ("1984. was a year\nof note", "1984. was a year\nof note"),
        ("term : kind\n    What it is.\n\n``x``\n    Code.", "- **term (kind)**: What it is.\n\n- `x`: Code."),
        (":Author: Me\n:Version: 1", "- **Author:** Me\n- **Version:** 1"),
        (":orphan:\n\ntext", "text"),
        (":param int x: how\n   many\n:returns: it", "- **Parameter** `x` (`int`): how\n  many\n- **Returns**: it"),
        ("-v, --verbose  Say more.\n\n--file=X  Read it.", "- `-v, --verbose`: Say more.\n\n- `--file=X`: Read it."),
        ("| a\n| b", "a\nb"),
        ("text\n\n    quoted *words*", "text\n\n> quoted *words*"),
        ("text\n\n    * not\n    * quoted", "text\n\n- not\n- quoted"),
        (".. [1] A note\n   of two lines.\n.. [X] Cited.", "[^1]: A note\nof two lines.\n\n[X]: Cited."),
        ("a [#]_ b [#x]_\n\n.. [#] one\n.. [#x] two", "a [^1] b [^2]\n\n[^1]: one\n\n[^2]: two"),
        (".. _here:\n\nA title\n=======\n\nSee :ref:`here`.", "# A title\n\nSee A title."),
        ("a\n\n.. a comment\n   of lines\n\n..\n\n   quote\n\nb", "a\n\n> quote\n\nb"),
    ],
)
def test_blocks(rst: str, markdown: str) -> None:
    assert rst_to_markdown(rst) == markdown


@pytest.mark.parametrize(
    ("rst", "markdown"),
    [
        ("Like this::\n\n    if x:\n        ``y``\n\n    z\n\nend",
         "Like this:\n\n```\nif x:\n    ``y``\n\nz\n```\n\nend"),
        ("This ::\n\n  a\n\n::\n\n  b", "This\n\n```\na\n```\n\n```\nb\n```"),
        (".. code-block:: sh\n   :caption: Run\n\n   $ ls\n     -l", "**Run**\n\n```sh\n$ ls\n  -l\n```"),
        (".. highlight:: c\n\nC::\n\n   int x;\n\n.. code::\n\n   y", "C:\n\n```c\nint x;\n```\n\n```c\ny\n```"),
        (">>> 1 + 1\n2\n\ntext", "```pycon\n>>> 1 + 1\n2\n```\n\ntext"),
        ("::\n\n    ```\n    in\n    ```", "````\n```\nin\n```\n````"),
        ("::\n\n    a\tb\n\n    \tc", "```\na\tb\n\n\tc\n```"),
        ("Said::\n\n> a\n> b\n\nend", "Said:\n\n```\n> a\n> b\n```\n\nend"),
        (".. productionlist::\n   a: `b` | \"c\"", "```text\na: b | \"c\"\n```"),
        (".. parsed-literal::\n\n   run :file:`{x}` **now**", "```text\nrun x now\n```"),
        (".. literalinclude:: x.py\n\ntext", "text"),
    ],
)  # fmt: skip
def test_code_is_exact(rst: str, markdown: str) -> None:
    assert rst_to_markdown(rst) == markdown


@pytest.mark.parametrize(
    ("rst", "markdown"),
    [
        (".. note:: Be\n   quick.\n\n   Really.", "> **Note:** Be\n> quick.\n>\n> Really."),
        (".. warning::\n\n   * a\n   * b", "> **Warning:**\n>\n> - a\n> - b"),
        (".. seealso::\n\n   :mod:`os`", "> **See also:** `os`"),
        (".. admonition:: Mind you\n\n   Text.", "> **Mind you:** Text."),
        (".. versionadded:: 3.8", "> **Added in version 3.8.**"),
        (".. versionchanged:: 3.9\n   Now *good*.", "> **Changed in version 3.9:** Now *good*."),
        (".. deprecated:: 3.1 Use `x`.", "> **Deprecated since version 3.1:** Use `x`."),
        (".. deprecated-removed:: 3.1 3.3", "> **Deprecated since version 3.1, will be removed in version 3.3.**"),
        (".. function:: f(x, *y)\n              g(x)\n\n   Does *it*.", "`f(x, *y)`\n`g(x)`\n\nDoes *it*."),
        (".. class:: C(a)\n\n   Text.\n\n   .. method:: m()\n      :async:\n\n      More.",
         "`class C(a)`\n\nText.\n\n`async m()`\n\nMore."),
        (".. c:function:: int f(void *p)\n\n   Does.", "`int f(void *p)`\n\nDoes."),
        (".. data:: X\n   :value: 1\n\n.. envvar:: HOME", "`X = 1`\n\n`HOME`"),
        (".. decorator:: cached", "`@cached`"),
        (".. rst:role:: ref\n\n   Links.", "`ref`\n\nLinks."),
        (".. toctree::\n   :maxdepth: 2\n\n   a\n   b\n\n.. index:: x\n\n.. module:: m\n\ntext", "text"),
        (".. image:: a.png\n   :alt: A picture", "A picture"),
        (".. figure:: a.png\n\n   The caption.", "The caption."),
        (".. only:: html\n\n   A title\n   =======\n\n   kept", "# A title\n\nkept"),
        (".. surprise:: arg\n\n   The *body*.", "The *body*."),
        (".. rubric:: Notes", "**Notes**"),
        (".. glossary::\n\n   a\n   b\n      Both.", "- **a, b**: Both."),
        (".. math::\n\n   x^2", "$$\nx^2\n$$"),
        (".. raw:: latex\n\n   \\x", ""),
    ],
)  # fmt: skip
def test_directives(rst: str, markdown: str) -> None:
    assert rst_to_markdown(rst) == markdown


SIMPLE = """
    =====  ======
    Name   What
    =====  ======
    ``a``  first
           more
    b      a | b
    =====  ======
"""
GRID = """
    +------+-------+
    | Name | What  |
    +======+=======+
    | a    | long  |
    |      | text  |
    +------+-------+
    | spans both   |
    +------+-------+
"""
LISTED = """
    .. list-table:: Title
       :header-rows: 1

       * - A
         - B
       * - ``x``
         - two
           lines
"""
SEPARATED = """
    .. csv-table::
       :header: "A", "B"

       "x, y", 2
"""


@pytest.mark.parametrize(
    ("rst", "rows"),
    [
        (SIMPLE, ["| Name | What |", "| --- | --- |", "| `a` | first more |", "| b | a \\| b |"]),
        (GRID, ["| Name | What |", "| --- | --- |", "| a | long text |", "| spans both |  |"]),
        (LISTED, ["**Title**", "", "| A | B |", "| --- | --- |", "| `x` | two lines |"]),
        (SEPARATED, ["| A | B |", "| --- | --- |", "| x, y | 2 |"]),
        ("= =\na b\n= =", ["|  |  |", "| --- | --- |", "| a | b |"]),
    ],
)
def test_tables(rst: str, rows: list[str]) -> None:
    assert converted(rst).split("\n") == rows


def test_a_table_with_code_in_its_cells_stays_as_it_is() -> None:
    table = "+-----+\n| a:: |\n|     |\n|   b |\n+-----+"
    assert rst_to_markdown(table) == f"```\n{table}\n```"


def test_the_head_of_a_pep_is_a_title_and_a_list() -> None:
    head = "PEP: 8\nTitle: A \\*Style\nAuthor: A <a@b.c>,\n        B\nStatus: Active\n"
    assert rst_to_markdown(f"{head}\n\nIntro\n=====\n\ntext\n") == (
        "# PEP 8: A *Style\n\n- Author: A <a@b.c>, B\n- Status: Active\n\n## Intro\n\ntext\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "word",
        "Two words.\n\nOther *lines*\nof text, x_y, a: b.\n",
        "a\n\n\nb\n",
        "- a\n- b\n",
        "1. a\n2. b\n",
    ],
)
def test_a_text_without_markup_comes_back_as_it_was(text: str) -> None:
    assert rst_to_markdown(text).strip("\n") == text.strip("\n")


PIECES = [
    *(
        ".. note::",
        ".. _a:",
        "..",
        "::",
        "   x",
        "* ",
        "1. a",
        "`a <b>`_",
        ":f:`",
        "``",
        "|a|",
        "a\n===",
        "====",
        "+-+",
    ),
    *("| a", ":x: y", ">>> a", "= =", "[1]_", "\\", "", "", "  - b", ".. |a| replace:: |a|", "a_", "__ x", "\t"),
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=9)), max_size=30).map("\n".join))
def test_nothing_makes_it_fail(text: str) -> None:
    rst_to_markdown(text)


@given(st.lists(st.text("abcd ", min_size=1, max_size=20), max_size=9))
def test_words_of_paragraphs_survive(paragraphs: list[str]) -> None:
    assert rst_to_markdown("\n\n".join(paragraphs)).replace(">", "").split() == " ".join(paragraphs).split()


@pytest.mark.parametrize("piece", ["``x ", ":a:`", "== ", "==\n", "a_ ", "* ", ".. x::\n", "|a ", "`a <", "a\n  "])
def test_time_grows_with_the_text_alone(piece: str) -> None:
    assert_near_linear(lambda times: rst_to_markdown(piece * times), 1000, 16000)


def test_blocks_nested_without_end_are_text() -> None:
    assert "last" in rst_to_markdown("".join(f"{'  ' * depth}* a\n\n" for depth in range(300)) + "last")
    assert "last" in rst_to_markdown("- " * 20000 + "last")
