"""A tokenizer file from elsewhere cannot crash, hang or bloat the process; what nima did not write is refused."""

import json
import subprocess
import sys
from typing import Any

import pytest

from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError
from tests.engine.data.small_tokenizers import KINDS, TRAINED

MUTATED = 1000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The findings of `proto_fuzz`, run in a process of its own."""
    folder = tmp_path_factory.mktemp("protos")
    files = [folder / f"{kind}.model" for kind in KINDS]
    for kind, file in zip(KINDS, files, strict=True):
        file.write_bytes(TRAINED[kind].proto)
    command = [sys.executable, "-m", "tests.engine.data.tokenizer.proto_fuzz", str(MUTATED), "7", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "native code talked"
    return json.loads(done.stdout)


def test_crafted_files_are_refused(report: Any) -> None:
    assert len(report["crafted"]) > 60
    assert [name for name, refused in report["crafted"].items() if not refused] == []


def test_crafted_files_take_no_memory_to_speak_of(report: Any) -> None:
    assert report["bytes_over_twice_the_file"] < 64 * 2**20


def test_mutated_files_are_refused_or_lossless(report: Any) -> None:
    for refused in report["mutated"]:
        assert MUTATED // 3 * 0.5 < refused < MUTATED // 3 * 0.95, "mutations break most files, but not all"


def test_a_refusal_names_the_file_and_the_reason() -> None:
    proto = TRAINED["bpe"].proto
    broken = {
        "it has 0 bytes": b"",
        "unreadable at byte": b"hello, this is no tokenizer",
        "cut short at byte": proto[: len(proto) // 2],
        "its special symbols": proto.replace(b"<|end|>", b"<|fin|>"),
        "it normalises text": proto.replace(b"\x08identity", b"\x08nmt_nfkc"),
        "a piece is empty, too long": proto + proto[: proto.index(b"<|bos|>") - 4],
    }
    for reason, data in broken.items():
        with pytest.raises(
            CheckpointError, match=rf"^here\.model: this is not a tokenizer that nima can use: {reason}"
        ) as caught:
            SentencePieceTokenizer.from_bytes(data, where="here.model")
        assert caught.value.hint is not None
