"""From a document as it was read to the document that is learned; a pure function, knows nothing of files or tokens.

In this order: contents of data URIs, Unicode normalisation (if asked for), markup (Markdown only), white space. What is
said in conversations keeps its markup: questions and answers may be about it.
"""

import unicodedata
from dataclasses import replace

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.data_uris import shorten_data_uris
from nima_cli.engine.data.cleaning.links import strip_links
from nima_cli.engine.data.cleaning.markup import strip_markup
from nima_cli.engine.data.cleaning.whitespace import CleanReport, clean
from nima_cli.engine.data.document import Document, Turn


def refine(document: Document, config: DataConfig, report: CleanReport) -> Document:
    """`document` with tidy text; code stays byte for byte but for line ends (and normalisation, if asked for).

    Args:
        report: what was done is added to it.
    """
    if document.turns:
        turns = tuple(_turn(turn, document, config, report) for turn in document.turns)
        return replace(document, turns=turns)
    text = _normalized(document.text, config, report)
    if document.kind == "markdown":
        if config.strip_markup:
            text = strip_markup(text, report)
        text = strip_links(text, report, only_data=config.keep_links)
    return replace(document, text=clean(text, document.kind, report))


def _turn(turn: Turn, document: Document, config: DataConfig, report: CleanReport) -> Turn:
    return replace(turn, content=clean(_normalized(turn.content, config, report), document.kind, report))


def _normalized(text: str, config: DataConfig, report: CleanReport) -> str:
    text = shorten_data_uris(text, report)
    if config.normalize == "none" or unicodedata.is_normalized("NFC", text):
        return text
    report.normalized += 1
    return unicodedata.normalize("NFC", text)
