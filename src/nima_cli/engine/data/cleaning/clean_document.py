"""From a document as it was read to the document that is learned: a pure function.

In this order: contents of data URIs, Unicode normalisation (if asked for), markup (Markdown only), white space. What is
said in conversations keeps its markup: questions and answers may be about it.
"""

import unicodedata
from dataclasses import replace

from nima_cli.config.data_schema import DataConfig
from nima_cli.engine.data.cleaning.links import shorten_data_uris, strip_links
from nima_cli.engine.data.cleaning.markup import strip_markup
from nima_cli.engine.data.cleaning.whitespace import CleaningCounts, tidy
from nima_cli.engine.data.document import Document


def clean_document(document: Document, config: DataConfig, counts: CleaningCounts) -> Document:
    """`document` with tidy text; code stays byte for byte but for line ends (and normalisation, if asked for)."""

    def normalized(text: str) -> str:
        text = shorten_data_uris(text, counts)
        if config.normalize == "none" or unicodedata.is_normalized("NFC", text):
            return text
        counts.normalized += 1
        return unicodedata.normalize("NFC", text)

    if document.turns:
        said = (tidy(normalized(turn.content), document.kind, counts) for turn in document.turns)
        turns = tuple(replace(turn, content=content) for turn, content in zip(document.turns, said, strict=True))
        return replace(document, turns=turns)
    text = normalized(document.text)
    if document.kind == "markdown":
        if config.strip_markup:
            text = strip_markup(text, counts)
        text = strip_links(text, counts, only_data=config.keep_links)
    return replace(document, text=tidy(text, document.kind, counts))
