"""Opens a tokenizer, of whatever kind it is."""

from pathlib import Path

from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.data.tokenizer.hf_file import FILES, MAX_BUNDLE_BYTES, bundle
from nima_cli.engine.data.tokenizer.protocol import Tokenizer
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError
from nima_cli.files import explain


def tokenizer_from_bytes(proto: bytes, *, where: str) -> Tokenizer:
    """A tokenizer from its `proto`: a SentencePiece file of nima, or a bundle of a model's tokenizer files.

    Raises:
        CheckpointError: damaged, or of no kind that nima can use; `where` names it.
        ResourceError: it needs a package that is not installed.
    """
    # A message of protocol buffers begins with the number of a field, and none of SentencePiece's gives a brace.
    kind = HFTokenizer if proto[:1] == b"{" else SentencePieceTokenizer
    return kind.from_bytes(proto, where=where)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a `.model` file, in a prepared dataset, or in a model's folder with its `tokenizer.json`.

    Raises:
        CheckpointError: no such file, or no tokenizer that nima can use.
        ResourceError: it cannot be read, or needs a package that is not installed.
    """
    if path.is_dir() and (path / FILES[0]).is_file():
        return tokenizer_from_bytes(bundle(read_tokenizer_files(path)), where=str(path))
    if path.is_dir():
        found = sorted(path.glob("tokenizer_*.model"))
        if len(found) != 1:
            raise CheckpointError(
                f"{path}: {len(found)} files match `tokenizer_*.model`; expected one, or a `{FILES[0]}`"
            )
        path = found[0]
    if path.name == FILES[0]:
        return tokenizer_from_bytes(bundle(read_tokenizer_files(path.parent)), where=str(path))
    return tokenizer_from_bytes(_read(path), where=str(path))


def read_tokenizer_files(folder: Path) -> dict[str, str]:
    """The texts of a model's tokenizer files, by name, as `bundle` takes them.

    Raises:
        CheckpointError: too large, or not UTF-8.
        ResourceError: one cannot be read.
    """
    files = {}
    for name in FILES:
        if (folder / name).exists():
            try:
                files[name] = _read(folder / name).decode("utf-8")
            except UnicodeDecodeError:
                raise CheckpointError(f"{folder / name}: not UTF-8", hint="download the model again") from None
    return files


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BUNDLE_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise explain(error, path, "read this tokenizer") from error
    if len(data) > MAX_BUNDLE_BYTES:
        raise CheckpointError(f"{path}: larger than {MAX_BUNDLE_BYTES:,} bytes, so it is no tokenizer")
    return data
