"""An evaluation as one HTML page with its styles and pictures; `_text` escapes all foreign text.

The frame and the styles are in `eval_report.html`.
"""

import base64
import html
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nima_cli.files import write_text
from nima_cli.loggers.figures import rendered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LANGUAGES = {"yaml": "YAML that parses", "json": "JSON that parses", "shell": "shell that bash -n accepts"}
_SUMMARY_CHARACTERS = 90

# Safe for colour-blind readers (Okabe and Ito, "Color Universal Design"); shapes differ as well.
_MODEL = "#0072B2"
_BASELINES = (("#E69F00", "s"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v"))
_INK, _FAINT = "#333333", "#e3e3e3"
_WIDTH, _ROW = 9.0, 0.34  # inches
_NAME_CHARACTERS = 36
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_Cell = str | tuple[str, str]  # text, or (text, CSS class)


def write_report(path: Path, result: Mapping[str, Any]) -> None:
    """Write the result of `nima eval --json` as a page; raises ResourceError."""
    write_text(path, report_page(result))


def report_page(result: Mapping[str, Any]) -> str:
    file = "/".join(Path(result["checkpoint"]).parts[-2:])
    title = _text(f"{file} on the {result['split']} split")
    page = string.Template(Path(__file__).with_suffix(".html").read_text("utf-8"))
    return page.substitute(title=title, sections="\n".join(_sections(result)))


def _sections(result: Mapping[str, Any]) -> Iterator[str]:
    facts = (
        f"{result['parameters']:,} parameters, step {result['step']}, {result['dtype']}; "
        f"{result['checkpoint']} on {result['data']}"
    )
    yield f'<div class="facts">{_text(facts)}</div>'
    yield _cards(
        (_number(result["bits_per_byte"]), "bits per byte"),
        (_number(result["loss"]), "loss, nats per token"),
        (_number(result["perplexity"], 2), "perplexity"),
        (f"{result['accuracy']:.1%}", "next-token accuracy"),
        (f"{result['tokens']:,}", "tokens, each measured once"),
    )
    if "baselines" in result:
        yield from _baselines(result)
    for dimension, rows in result.get("by", {}).items():
        picture = _picture(_breakdown_chart(rows), f"bits per byte by {dimension}")
        yield _section(f"By {dimension}", picture, _breakdown(rows))
    if "writing" in result:
        yield _writing(result["writing"])
    if "answers" in result:
        yield _answers(result["answers"])


def _baselines(result: Mapping[str, Any]) -> Iterator[str]:
    behind = result["behind"] or any(row["behind"] for rows in result.get("by", {}).values() for row in rows)
    verdict = result["verdict"]
    yield f'<section class="verdict{" behind" if behind else ""}">{_text(verdict[:1].upper() + verdict[1:])}.</section>'
    rows = [(one["name"], _number(one["bits_per_byte"]), (one["note"], "left")) for one in result["baselines"]]
    yield _section(
        "Did it learn anything?",
        _picture(_overall_chart(result), "bits per byte of the model and of simple predictors"),
        _table(("baseline", "bits per byte", ("how", "left")), rows),
    )


def _breakdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in rows[0].get("baselines", {}) if any(row["baselines"][name] is not None for row in rows)]
    cells = [
        (
            row["name"],
            f"{row['bytes']:,}",
            f"{row['tokens']:,}",
            _number(row["loss"]),
            f"{row['accuracy']:.1%}",
            (_number(row["bits_per_byte"]), "" if not names else "lost" if row["behind"] else "ahead"),
            *(_number(row["baselines"][name]) for name in names),
        )
        for row in rows
    ]
    return _table(("", "bytes", "tokens", "loss", "accuracy", "bits per byte", *names), cells)


def _writing(writing: Mapping[str, Any]) -> str:
    fences, copies = writing["fences"], writing["copies"]
    blocks = []
    for language, name in _LANGUAGES.items():
        found, checked = writing["blocks"][language], language != "shell" or writing["shell_checked"]
        blocks.append((f"{found['valid']} of {found['checked']}" if checked else "no bash", name))
    cards = _cards(
        (f"{writing['finished']} of {writing['texts']}", "texts ended by themselves"),
        (f"{fences['closed']} of {fences['opened'] - fences['cut']}", "code blocks closed"),
        *blocks,
        (f"{copies['share']:.1%}", f"copied from training in runs of {copies['at_least']} tokens or more"),
        (f"{copies['longest']} tokens", "the longest copy"),
    )
    note = f"The real text goes on with {copies['held_out_share']:.1%} copied, "
    note += f"the longest {copies['held_out_longest']} tokens."
    note += f" {fences['cut']} more code blocks were cut off by the limit." if fences["cut"] else ""
    copy = _details("The longest copy", f"<pre>{_text(copies['longest_text'])}</pre>") if copies["longest"] else ""
    samples = [
        _details(one["prompt"], f"<pre><i>{_text(one['prompt'])}</i>{_text(one['text'])}</pre>")
        for one in writing["samples"]
    ]
    return _section("What it writes", cards, _note(note), copy, *samples)


def _answers(answers: Mapping[str, Any]) -> str:
    cards = _cards(
        (f"{answers['asked']} of {answers['held_out']}", "questions asked"),
        (f"{answers['f1']:.1%}", "token F1"),
        (f"{answers['exact_match']:.1%}", "exact match"),
    )
    samples = [
        _details(
            f"{one['f1']:.2f}  {one['question']}",
            f"{_note('the model')}<pre>{_text(one['answer'])}</pre>"
            f"{_note('expected')}<pre>{_text(one['expected'])}</pre>",
        )
        for one in answers["samples"]
    ]
    return _section("What it answers", cards, *samples)


def _section(title: str, *parts: str) -> str:
    return "\n".join(["<section>", f"<h2>{_text(title)}</h2>", *filter(None, parts), "</section>"])


def _cards(*cards: tuple[str, str]) -> str:
    inner = "".join(f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for value, name in cards)
    return f'<div class="cards">{inner}</div>'


def _table(headings: Sequence[_Cell], rows: Iterable[Sequence[_Cell]]) -> str:
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[_Cell]) -> str:
    row = ""
    for cell in cells:
        text, style = (cell, "") if isinstance(cell, str) else cell
        attribute = f' class="{style}"' if style else ""
        row += f"<{tag}{attribute}>{_text(text)}</{tag}>"
    return f"<tr>{row}</tr>"


def _note(text: str) -> str:
    return f'<p class="note">{_text(text)}</p>'


def _details(summary: str, content: str) -> str:
    line = " ".join(summary.split())
    short = line if len(line) <= _SUMMARY_CHARACTERS else line[:_SUMMARY_CHARACTERS].rstrip() + "…"
    return f"<details><summary>{_text(short)}</summary>{content}</details>"


def _picture(figure: "Figure", alternative: str) -> str:
    """An image of its own, so that its contents cannot reach the page."""
    data = base64.b64encode(rendered(figure, "svg", transparent=True)).decode("ascii")
    return f'<img alt="{_text(alternative)}" src="data:image/svg+xml;base64,{data}">'


def _text(text: str) -> str:
    return html.escape(_visible(text))


def _visible(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _overall_chart(result: Mapping[str, Any]) -> "Figure":
    """Bits per byte of the model and each baseline, as bars."""
    rows = [(one["name"], one["bits_per_byte"]) for one in result["baselines"] if one["bits_per_byte"] is not None]
    rows.insert(0, ("this model", result["bits_per_byte"]))
    figure, axes = _chart(len(rows))
    colours = [_MODEL] + ["#b8c4cc"] * (len(rows) - 1)
    bars = axes.barh(range(len(rows)), [bits for _, bits in rows], color=colours, height=0.62)
    axes.bar_label(bars, fmt="%.3f", padding=5, color=_INK)
    _finish(axes, [name for name, _ in rows], max(bits for _, bits in rows))
    return figure


def _breakdown_chart(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Bits per byte by name: a large dot for the model, a small mark for each baseline."""
    rows = [row for row in rows if row["bits_per_byte"] is not None]
    figure, axes = _chart(len(rows))
    names = [name for name in rows[0].get("baselines", {}) if any(row["baselines"][name] is not None for row in rows)]
    most = 0.0
    for at, row in enumerate(rows):
        known = [row["bits_per_byte"], *(bits for bits in row.get("baselines", {}).values() if bits is not None)]
        most = max(most, *known)
        axes.plot([min(known), max(known)], [at, at], color=_FAINT, linewidth=5, solid_capstyle="round", zorder=1)
    for name, (colour, marker) in zip(names, _BASELINES, strict=False):
        places = [at for at, row in enumerate(rows) if row["baselines"][name] is not None]
        bits = [rows[at]["baselines"][name] for at in places]
        axes.scatter(bits, places, color=colour, marker=marker, s=34, label=name, zorder=2)
    bits = [row["bits_per_byte"] for row in rows]
    axes.scatter(bits, range(len(rows)), color=_MODEL, s=78, label="this model", zorder=3)
    if names:
        axes.legend(frameon=False, ncols=len(names) + 1, loc="lower left", bbox_to_anchor=(0.0, 1.0), handletextpad=0.2)
    _finish(axes, [row["name"] for row in rows], most)
    return figure


def _chart(rows: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.1 + _ROW * rows), layout="constrained")
    return figure, figure.subplots()


def _finish(axes: "Axes", names: Sequence[str], most: float) -> None:
    short = [name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…" for name in names]
    axes.set_yticks(range(len(names)), [_visible(name) for name in short], color=_INK, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * most)
    axes.set_xlabel("bits per byte (less is better)", color=_INK)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.grid(visible=True, axis="x", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
