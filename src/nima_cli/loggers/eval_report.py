"""An evaluation as one HTML page that loads nothing: styles and pictures are in it; knows nothing of a terminal.

Every text that is not ours (names, paths, what a model wrote) goes through `_text`.
"""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nima_cli.files import write_text
from nima_cli.loggers.eval_figures import breakdown_chart, overall_chart, visible

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #66717d; --line: #e4e7eb; --model: #0072B2; --good: #00734f;
  --bad: #a94600; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f8; color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 0 0 .8rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem 1.4rem;
  margin-top: 1.2rem; }
.facts, .note { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin-top: 1.2rem; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; }
section .card { background: #f9fafb; } section .cards { margin: 0 0 1rem; }
.card b { display: block; font-size: 1.45rem; font-weight: 650; } .card span { color: var(--soft); font-size: .85rem; }
.verdict { border-left: 5px solid var(--good); font-weight: 600; } .verdict.behind { border-left-color: var(--bad); }
img { display: block; width: 100%; height: auto; margin: .4rem 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child, .left { text-align: left; }
td.left { white-space: normal; } tr:last-child td { border-bottom: 0; }
.ahead { color: var(--good); font-weight: 650; } .lost { color: var(--bad); font-weight: 650; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
pre { background: #f9fafb; border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; font: .82rem/1.45 ui-monospace, monospace; }
pre i { color: var(--soft); font-style: normal; }
""".strip()
_LANGUAGES = {"yaml": "YAML that parses", "json": "JSON that parses", "shell": "shell that bash -n accepts"}
_SUMMARY_CHARACTERS = 90


def write_report(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page, all or nothing.

    Args:
        result: what `nima eval --json` prints.

    Raises:
        ResourceError: the file cannot be written.
    """
    write_text(path, report_page(result))


def report_page(result: Mapping[str, Any]) -> str:
    """The whole page."""
    file = "/".join(Path(result["checkpoint"]).parts[-2:])
    title = f"{file} on the {result['split']} split"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>\n"
        + "\n".join([f"<h1>{_text(title)}</h1>", *_sections(result)])
        + "\n</main>\n</body>\n</html>\n"
    )


def _sections(result: Mapping[str, Any]) -> Iterator[str]:
    facts = (
        f"{result['parameters']:,} parameters, step {result['step']}, {result['dtype']}; "
        f"{result['checkpoint']} on {result['data']}"
    )
    yield f'<div class="facts">{_text(facts)}</div>'
    yield _cards(
        [
            (_number(result["bits_per_byte"]), "bits per byte"),
            (_number(result["loss"]), "loss, nats per token"),
            (_number(result["perplexity"], 2), "perplexity"),
            (_percent(result["accuracy"]), "next-token accuracy"),
            (f"{result['tokens']:,}", "tokens, each measured once"),
        ]
    )
    if "baselines" in result:
        yield _baselines(result)
    for dimension, rows in result.get("by", {}).items():
        yield _section(f"By {dimension}", _picture(breakdown_chart(rows), f"bits per byte by {dimension}"), _rows(rows))
    if "writing" in result:
        yield _writing(result["writing"])
    if "answers" in result:
        yield _answers(result["answers"])


def _baselines(result: Mapping[str, Any]) -> str:
    behind = result["behind"] or any(row["behind"] for rows in result.get("by", {}).values() for row in rows)
    rows = [[one["name"], _number(one["bits_per_byte"]), one["note"]] for one in result["baselines"]]
    body = "".join(
        f'<tr><td>{_text(name)}</td><td>{_text(bits)}</td><td class="left">{_text(note)}</td></tr>'
        for name, bits, note in rows
    )
    return (
        f'<section class="verdict{" behind" if behind else ""}">{_text(_sentence(result["verdict"]))}</section>\n'
        + _section(
            "Did it learn anything?",
            _picture(overall_chart(result), "bits per byte of the model and of simple predictors"),
            f'<table><tr><th>baseline</th><th>bits per byte</th><th class="left">how</th></tr>{body}</table>',
        )
    )


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in rows[0].get("baselines", {}) if any(row["baselines"][name] is not None for row in rows)]
    headings = ["", "bytes", "tokens", "loss", "accuracy", "bits per byte", *names]
    lines = [f"<tr>{''.join(f'<th>{_text(heading)}</th>' for heading in headings)}</tr>"]
    for row in rows:
        style = "" if not names else ' class="lost"' if row["behind"] else ' class="ahead"'
        plain = [
            row["name"],
            f"{row['bytes']:,}",
            f"{row['tokens']:,}",
            _number(row["loss"]),
            _percent(row["accuracy"]),
        ]
        cells = "".join(f"<td>{_text(value)}</td>" for value in plain)
        others = "".join(f"<td>{_number(row['baselines'][name])}</td>" for name in names)
        lines.append(f"<tr>{cells}<td{style}>{_number(row['bits_per_byte'])}</td>{others}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _writing(writing: Mapping[str, Any]) -> str:
    fences, copies = writing["fences"], writing["copies"]
    cards = [
        (f"{writing['finished']} of {writing['texts']}", "texts ended by themselves"),
        (f"{fences['closed']} of {fences['opened'] - fences['cut']}", "code blocks closed"),
    ]
    for language, name in _LANGUAGES.items():
        counts = writing["blocks"][language]
        checked = language != "shell" or writing["shell_checked"]
        cards.append((f"{counts['valid']} of {counts['checked']}" if checked else "no bash", name))
    cards.append((_percent(copies["share"]), f"copied from training in runs of {copies['at_least']} tokens or more"))
    cards.append((f"{copies['longest']} tokens", "the longest copy"))
    real = f"{_percent(copies['held_out_share'])} copied, the longest {copies['held_out_longest']} tokens"
    cut = f" {fences['cut']} more code blocks were cut off by the limit." if fences["cut"] else ""
    note = f"The real text goes on with {real}.{cut}"
    samples = "".join(
        _details(one["prompt"], f"<pre><i>{_text(one['prompt'])}</i>{_text(one['text'])}</pre>")
        for one in writing["samples"]
    )
    longest = _details("The longest copy", f"<pre>{_text(copies['longest_text'])}</pre>") if copies["longest"] else ""
    return _section("What it writes", _cards(cards), f'<p class="note">{_text(note)}</p>', longest, samples)


def _answers(answers: Mapping[str, Any]) -> str:
    cards = [
        (f"{answers['asked']} of {answers['held_out']}", "questions asked"),
        (_percent(answers["f1"]), "token F1"),
        (_percent(answers["exact_match"]), "exact match"),
    ]
    samples = "".join(
        _details(
            f"{one['f1']:.2f}  {one['question']}",
            f'<p class="note">the model</p><pre>{_text(one["answer"])}</pre>'
            f'<p class="note">expected</p><pre>{_text(one["expected"])}</pre>',
        )
        for one in answers["samples"]
    )
    return _section("What it answers", _cards(cards), samples)


def _section(title: str, *parts: str) -> str:
    return "\n".join([f"<section>\n<h2>{_text(title)}</h2>", *(part for part in parts if part), "</section>"])


def _cards(cards: Sequence[tuple[str, str]]) -> str:
    inner = "".join(f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for value, name in cards)
    return f'<div class="cards">{inner}</div>'


def _details(summary: str, content: str) -> str:
    line = " ".join(summary.split())
    short = line if len(line) <= _SUMMARY_CHARACTERS else line[:_SUMMARY_CHARACTERS].rstrip() + "…"
    return f"<details><summary>{_text(short)}</summary>{content}</details>"


def _picture(svg: str, alternative: str) -> str:
    """As an image of its own, so that nothing in it can reach the page."""
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img alt="{_text(alternative)}" src="data:image/svg+xml;base64,{data}">'


def _text(text: str) -> str:
    """Foreign text for HTML: markup escaped, controls made visible."""
    return html.escape(visible(text))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
