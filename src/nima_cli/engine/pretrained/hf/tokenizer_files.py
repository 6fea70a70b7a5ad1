"""Takes the files of a tokenizer out of a folder of Hugging Face transformers."""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nima_cli.engine.checkpoint.archive import shown
from nima_cli.engine.packages import needed
from nima_cli.engine.pretrained.strict import damaged, member, read_member, refuse_bomb
from nima_cli.errors import CheckpointError
from nima_cli.files import explaining

TOKENIZER, GENERATION, SENTENCEPIECE = "tokenizer.json", "generation_config.json", "tokenizer.model"
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", GENERATION)
# What transformers converts a SentencePiece file with.
_FOR_CONVERSION = (SENTENCEPIECE, "config.json", "added_tokens.json", *_BESIDE)
_LARGEST = {TOKENIZER: 32 << 20}  # bytes; the tokenizers of these layouts have up to 17 MB


def read_tokenizer_files(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the tokenizer's files by their names.

    Args:
        config: the parsed `config.json`, of which old folders take what `generation_config.json` says in newer ones.

    Raises:
        CheckpointError: there is no tokenizer, or a file is none of text.
        ResourceError: only a SentencePiece file is there, and no transformers to convert it.
    """
    files = {name: _text(folder, name) for name in (TOKENIZER, *_BESIDE) if (folder / name).exists()}
    if TOKENIZER not in files:
        if not (folder / SENTENCEPIECE).exists():
            raise CheckpointError(f"{folder}: no `{TOKENIZER}`", hint="fetch the tokenizer of the model, too")
        files[TOKENIZER] = _converted(folder)
    if GENERATION not in files:
        ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config}
        files[GENERATION] = json.dumps(ids)
    return files


def _text(folder: Path, name: str) -> str:
    content = read_member(folder, name, _LARGEST.get(name))
    refuse_bomb(content, folder / name)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(folder / name, "it is not UTF-8") from error


def _converted(folder: Path) -> str:
    """`tokenizer.json` as transformers makes it from a SentencePiece file, in a folder with nothing else in it."""
    what = f"the tokenizer in {folder}, which is there only as `{SENTENCEPIECE}`"
    transformers = needed("transformers", extra="pretrained", what=what)
    log = transformers.utils.logging
    level = log.get_verbosity()
    with explaining(folder, "convert its tokenizer"), tempfile.TemporaryDirectory() as copies:
        for name in filter(lambda name: (folder / name).exists(), _FOR_CONVERSION):
            shutil.copyfile(member(folder, name), Path(copies) / name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                log.set_verbosity_error()
                tokenizer = transformers.AutoTokenizer.from_pretrained(copies, local_files_only=True)
                text: str = tokenizer.backend_tokenizer.to_str()
        except Exception as error:  # of any kind: the file is a stranger's
            problem = shown(str(error).split("\n")[0], 200)
            raise CheckpointError(f"{folder / SENTENCEPIECE}: transformers cannot convert it: {problem}") from error
        finally:
            log.set_verbosity(level)
    return text
