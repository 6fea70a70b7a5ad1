"""Word documents (DOCX) to Markdown, by way of HTML, with the extra `docs`."""

import io
import zipfile

from nima_cli.engine.data.ingest.formats.errors import FormatError, library
from nima_cli.engine.data.ingest.formats.html.html import html_to_markdown

# What a packed file may hold unpacked.
_MAX_UNPACKED = 256 * 2**20


def docx_to_markdown(data: bytes, encoding: str | None = None) -> str:
    """The text with its headings, lists, tables and links; pictures by their words.

    Args:
        encoding: has no influence; the file says it itself.

    Raises:
        FormatError: `mammoth` is not installed, or this is no Word document, an encrypted or a damaged one.
    """
    mammoth = library("mammoth", "DOCX")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        hint = "save it again as DOCX without a password"
        raise FormatError("is an encrypted or old Word document, not DOCX", "encrypted", hint=hint)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if "word/document.xml" not in archive.namelist():
                raise FormatError("is no Word document: it holds no `word/document.xml`")
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED:
                raise FormatError(f"is larger than {_MAX_UNPACKED // 2**20} MB when unpacked", "too_large")
        no_picture = mammoth.images.img_element(lambda _: {})
        html = mammoth.convert_to_html(io.BytesIO(data), convert_image=no_picture).value
    except FormatError:
        raise
    except Exception as error:  # whatever a damaged file makes a parser stumble over
        raise FormatError("damaged Word document") from error
    return html_to_markdown(html)
