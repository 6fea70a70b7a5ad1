"""HTML becomes the Markdown that somebody would have written, without the frame of the page."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nima_cli.engine.data.cleaning.markdown import blocks
from nima_cli.engine.data.diagnostics import UnusableError
from nima_cli.engine.data.ingest.formats.html.html import html_bytes_to_markdown, html_to_markdown


def md(html: str) -> str:
    return html_to_markdown(html).removesuffix("\n")


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<h2>A <em>b</em></h2><p>one\n two", "## A *b*\n\none two"),
        ("<p>a <strong> b </strong>c <code>x  y</code> <code>`</code>", "a **b** c `x y` `` ` ``"),
        ('<p><a href="/x">go <b>on</b></a>', "[go **on**](/x)"),
        ('<p><a href="a b(1)">t</a>', "[t](<a b(1)>)"),
        ('<p><a href="#x">t</a> <a href="javascript:f()">u</a> <a>v</a>', "t u v"),
        ('<h2>Use<a class="headerlink" href="#use">¶</a></h2><p>x', "## Use\n\nx"),
        ('<h3><a href="#use">#</a>Use</h3><p>x', "### Use\n\nx"),
        ('<p><img src="p.png" alt="A plan"> <img src="q.png">', "![A plan](p.png)"),
        ('<p>see <img src="data:image/png;base64,AAAA" alt="a plot"> here', "see a plot here"),
        ('<p><a href="data:text/plain,AAAA">file</a>', "file"),
        ("<p>a<br>b<p>10<sup>3</sup> H<sub>2</sub>O soft&shy;ly", "a\nb\n\n10^3 H2O softly"),
        ("<p>the &lt;div&gt; tag and <code>&lt;p&gt;</code>", "the `<div>` tag and `<p>`"),
        ("<p># no heading", "\\# no heading"),
        ("<blockquote><p>a<p>b</blockquote>", "> a\n>\n> b"),
        ("<dl><dt>cp<dd>copies<dt><code>mv</code><dd>moves</dl>", "**cp**\n\ncopies\n\n`mv`\n\nmoves"),
        ("<details><summary>More</summary>text</details>", "**More**\n\ntext"),
        ("<hr><p>a<hr><p>b", "a\n\n---\n\nb"),
        ("<p>a<script>x()</script><style>p{}</style><svg><title>s</title></svg><noscript>on</noscript>b", "ab"),
        ("text <!-- not this --> alone", "text alone"),
        ("<math><annotation encoding='application/x-tex'>x^2</annotation></math>", "$x^2$"),
    ],
)
def test_elements(html: str, markdown: str) -> None:
    assert md(html) == markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<ul><li>a<li>b<ul><li>c</ul></ul>", "- a\n- b\n  - c"),
        ("<ol start=3><li>a<li><p>b</ol>", "3. a\n4. b"),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n  - b\n- c"),
        ("<ul><li>a</li><ul><li>b</li></ul></ul>", "- a\n  - b"),
        ("<ol><li><p>a<pre>x</pre><li>b</ol>", "1. a\n\n   ```\n   x\n   ```\n\n2. b"),
        ("<ul></ul><ul><li></ul>x", "x"),
    ],
)
def test_lists(html: str, markdown: str) -> None:
    assert md(html) == markdown


@pytest.mark.parametrize(
    ("html", "language"),
    [
        ('<pre><code class="language-go">{}</code></pre>', "go"),
        ('<div class="highlight-python3 notranslate"><div class="highlight"><pre>{}</pre></div></div>', "python"),
        ('<div class="highlight highlight-source-shell"><pre>{}</pre></div>', "shell"),
        ('<pre class="brush: java">{}</pre>', "java"),
        ('<pre data-lang="Rust">{}</pre>', "rust"),
        ('<div class="highlight-none"><pre>{}</pre></div>', ""),
        ('<pre class="rust example">{}</pre>', "rust"),
        ("<pre>{}</pre>", ""),
    ],
)
def test_code_keeps_its_lines_and_names_its_language(html: str, language: str) -> None:
    code = "if x:\n\n    y  = &lt;z&gt;\n"
    assert md(html.replace("{}", f"\n{code}")) == f"```{language}\nif x:\n\n    y  = <z>\n```"


def test_code_without_numbers_marks_and_with_fences_inside() -> None:
    html = '<pre><span class="lineno">1 </span><b>a</b><br><span class="linenos">2</span>```\nx</pre>'
    assert md(html) == "````\na\n```\nx\n````"
    table = '<table class="highlighttable"><tr><td class="linenos"><pre>1</pre></td><td><pre>x = 1</pre></td></table>'
    assert md(table) == "```\nx = 1\n```"


def test_tables() -> None:
    html = (
        "<table><caption>Flags</caption><thead><tr><th>name<th>what</thead>"
        "<tr><td><code>a|b</code><td><p>one<p>two<tr><td rowspan=2>c<td>d<tr><td>e</table>"
    )
    rows = ["| name | what |", "| --- | --- |", "| `a\\|b` | one two |", "| c | d |", "|  | e |"]
    assert md(html) == "Flags\n\n" + "\n".join(rows)
    assert [block.kind for block in blocks(md(html))] == ["paragraph", "table"]


@pytest.mark.parametrize("attribute", ["", ' role="presentation"'])
def test_tables_that_lay_out_a_page_are_looked_through(attribute: str) -> None:
    html = f"<table{attribute}><tr><td><h2>A</h2>x<td><pre>y</pre><tr><td>z<td>w</table>"
    assert md(html) == "## A\n\nx\n\n```\ny\n```\n\nz\n\nw"


FRAME = (
    "<head><title>Page - Site</title></head><body><header><h1>Site</h1></header><nav>menu</nav>"
    "<div role=navigation>more</div><div class=sidebar>side</div>{}<aside>ad</aside>"
    "<form><input value=q><button>Go</button></form><footer>(c)</footer></body>"
)


def test_the_frame_of_a_page_is_left_out() -> None:
    assert md(FRAME.format("<main><h1>T</h1>text</main>")) == "# T\n\ntext"
    assert md(FRAME.format("<article>text</article>")) == "# Page - Site\n\ntext"
    assert md(FRAME.format("<article>a</article><article>b</article>")) == "# Site\n\na\n\nb"
    note = '<main><aside class="admonition">kept</aside><aside>not</aside><p hidden>no<p>yes</main>'
    assert md(FRAME.format(note)) == "# Page - Site\n\nkept\n\nyes"


def test_where_a_title_comes_from() -> None:
    assert md("<title>A &amp;\n B</title><p>x") == "# A & B\n\nx"
    assert md("<title>A</title><h1>B</h1>x") == "# B\n\nx"
    assert md('---\ntitle: "A: b"\nweight: 2\n---\n<p>x') == "# A: b\n\nx"
    assert md('<!--{\n "Title": "A",\n "Template": true\n}-->\n<p>x') == "# A\n\nx"
    assert md("<title>{{ page.title }}</title><p>x") == "x"
    assert md("<title>A</title>") == ""


def test_marks_of_templates_are_no_text() -> None:
    html = '{% extends "base.html" %}{% block main %}<p>Hello {{ name }}, welcome</p><p>{{ body }}</p>{% endblock %}'
    assert md(html + "<pre>{{ kept }}</pre>") == "Hello {{ name }}, welcome\n\n```\n{{ kept }}\n```"


def test_phrases_that_hold_blocks() -> None:
    assert md('<a href="/x"><div><h3>T</h3><p>x</p></div></a>') == "### T\n\nx"
    assert md("<font><b><p>a</p><p>b</p></b></font>") == "a\n\nb"


@pytest.mark.parametrize("tag", ["div", "b", "ul><li", "table><tr><td", "blockquote", "span", "a", "dl", "font", "svg"])
def test_whatever_is_nested_deeply_ends_well(tag: str) -> None:
    closed = "".join(f"</{name}>" for name in reversed(tag.split("><")))
    for end in ("", closed * 10_000):
        text = md(f"<p>first{f'<{tag}>' * 10_000}deep{end}<p>last")
        assert text.startswith("first")
        assert ("deep" in text) == (tag != "svg")


@pytest.mark.parametrize(
    "html",
    ["", " ", "<", "</p>", "<p", "<!--", "<table><td>", "<li>", "<a href=", "\0", "<frameset><frame></frameset>"],
)
def test_broken_pages_are_pages(html: str) -> None:
    assert isinstance(md(html), str)


TAGS = "p b a ul ol li table tr td th pre code h1 h2 blockquote div span dl dt dd main article header aside hr br img q"
TEXTS = ["words", " ", "\n", "`", "|", "# x", "- ", "&lt;p&gt;", "{{ x }}", '<a href="/x">', "<td rowspan=3 colspan=2>"]
PARTS = [*(f"<{tag}>" for tag in TAGS.split()), *(f"</{tag}>" for tag in TAGS.split()), *TEXTS]
SOUP = st.lists(st.sampled_from(PARTS), max_size=40)


@given(SOUP)
@settings(max_examples=300)
def test_any_soup_of_tags_gives_tidy_markdown(parts: list[str]) -> None:
    text = html_to_markdown("".join(parts))
    assert text == "" or text.endswith("\n")
    assert "\n\n\n" not in text or "<pre>" in parts
    assert ("words" in "".join(parts)) >= ("words" in text)


OFTEN = ["{{ ", "{% ", "&lt;a ", "<p", "<a href='", "<td>", "<b><p>", "`", "<li><ul>", "| ", "\\", "<td colspan=999>"]


@pytest.mark.parametrize("part", OFTEN)
def test_what_is_repeated_often_ends_soon(part: str) -> None:
    assert isinstance(html_to_markdown(part * 50_000), str)


def test_elements_that_nobody_closes_do_not_make_reading_quadratic() -> None:
    # Lexbor would walk up 300,000 open elements at each of them: minutes.
    assert md("<div>" * 300_000 + "deep") == "deep"


TEXT = "naïve “café”"


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ('<meta charset="windows-1252">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=ISO-8859-1">', "cp1252"),
        ('<?xml version="1.0" encoding="windows-1252"?>', "cp1252"),
        ('<meta charset="iso-8859-1">', "utf-8"),
        ('<meta charset="nonsense">', "utf-8"),
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
    ],
)
def test_declared_and_found_encodings(declared: str, written: str) -> None:
    data = f"{declared}<p>{TEXT}".encode(written)
    assert html_bytes_to_markdown(data, None) == f"{TEXT}\n"


def test_an_encoding_that_the_user_names() -> None:
    assert html_bytes_to_markdown("<p>привет".encode("cp1251"), "cp1251") == "привет\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"<p>\n\xff", "byte 0xff at offset 4 (line 2) is not UTF-8"),
        (b"<meta charset=base64><p>\xff", "byte 0xff at offset 24 (line 1) is not UTF-8"),
        (b"<p>a\0b", "looks binary (NUL at byte 4)"),
    ],
)
def test_bytes_in_no_encoding(data: bytes, what: str) -> None:
    with pytest.raises(UnusableError) as caught:
        html_bytes_to_markdown(data, None)
    assert caught.value.what == what
