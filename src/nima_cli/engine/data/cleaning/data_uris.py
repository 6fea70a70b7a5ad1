"""Takes the contents out of data URIs, which are pictures and fonts and never text; knows no markup."""

import re

from nima_cli.engine.data.cleaning.whitespace import CleanReport

# As many characters of contents may be an example that is worth reading.
EXAMPLE_CHARACTERS = 200
LEFT_OUT = "…"
_HEAD = re.compile(
    r"data:(?<![\w-]data:)(?:[\w.+-]{1,80}/[\w.+-]{1,80})?(?:;[\w.+-]{1,40}(?:=[^\s,;\"'()<>]{0,80})?){0,5},"
)
# In quotes, contents may hold spaces if they are percent-encoded, and line ends if they are base64.
_QUOTED = {
    '"': re.compile(r"(?:[^\"\\\n]*+|[A-Za-z0-9+/=_%\s-]*+)(?=\\?\")"),
    "'": re.compile(r"(?:[^'\\\n]*+|[A-Za-z0-9+/=_%\s-]*+)(?=\\?')"),
}
_BARE = re.compile(r"[^\s\"<>()\\`|]*+(?:\([^\s\"<>()\\`|]*+\)[^\s\"<>()\\`|]*+)*+")


def shorten_data_uris(text: str, report: CleanReport) -> str:
    """`text` with `data:image/png;base64,…` for every data URI whose contents are longer than an example.

    Args:
        report: what was done is added to it.
    """
    if "data:" not in text:
        return text
    parts: list[str] = []
    last = 0
    for head in _HEAD.finditer(text):
        if head.start() < last:
            continue
        end = _end(text, head)
        if end - head.end() > EXAMPLE_CHARACTERS:
            parts += text[last : head.end()], LEFT_OUT
            last = end
            report.data_uris += 1
    return "".join([*parts, text[last:]])


def _end(text: str, head: re.Match[str]) -> int:
    quoted = _QUOTED.get(text[head.start() - 1 : head.start()])
    found = quoted.match(text, head.end()) if quoted is not None else None
    found = found or _BARE.match(text, head.end())
    assert found is not None, "it matches nothing, too"
    return found.end()
