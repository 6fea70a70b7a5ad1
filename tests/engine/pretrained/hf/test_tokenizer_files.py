"""The files of a tokenizer, and one that is there only as SentencePiece."""

import json
import sys
from pathlib import Path

import pytest

from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.engine.pretrained.hf.tokenizer_files import read_tokenizer_files
from nima_cli.errors import CheckpointError, ResourceError
from tests.engine.pretrained.others import write_tokenizer

CONFIG = {"model_type": "llama", "bos_token_id": 1, "eos_token_id": [2, 5], "vocab_size": 300}


def test_the_files_are_taken_as_they_are(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    texts = {"chat_template.jinja": "{{ 1 }}\n", "generation_config.json": '{"eos_token_id" : 7}'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "vocab.json").write_text("{}", encoding="utf-8")
    found = read_tokenizer_files(tmp_path, CONFIG)
    assert set(found) == {"tokenizer.json", "tokenizer_config.json", *texts}
    assert all(found[name] == (tmp_path / name).read_text("utf-8") for name in found)


def test_an_old_config_tells_what_ends_generation(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    found = read_tokenizer_files(tmp_path, CONFIG)
    assert json.loads(found["generation_config.json"]) == {"bos_token_id": 1, "eos_token_id": [2, 5]}


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "damaged: it is not UTF-8"), (b" " * (33 << 20), "larger than 32 MB")]
)
def test_a_file_that_is_no_text_or_too_large_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"tokenizer.json: {message}"):
        read_tokenizer_files(tmp_path, CONFIG)


def test_a_sentencepiece_file_is_converted_by_transformers(
    tmp_path: Path, tokenizers: dict[str, SentencePieceTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("tokenizers")
    pytest.importorskip("transformers")
    own = tokenizers["bpe"]
    (tmp_path / "tokenizer.model").write_bytes(own.proto)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    found = library.Tokenizer.from_str(read_tokenizer_files(tmp_path, CONFIG)["tokenizer.json"])
    assert [found.id_to_token(number) for number in (20, 300)] == [
        own.piece(number).replace(" ", "\u2581") for number in (20, 300)
    ]
    (tmp_path / "tokenizer.model").write_bytes(b"\x0anonsense")
    with pytest.raises(CheckpointError, match=r"tokenizer.model: transformers cannot convert it") as caught:
        read_tokenizer_files(tmp_path, CONFIG)
    assert len(caught.value.message.splitlines()) == 1
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ResourceError, match=r"which is there only as `tokenizer.model`") as missing:
        read_tokenizer_files(tmp_path, CONFIG)
    assert missing.value.hint == "pip install 'nima[pretrained]'"
