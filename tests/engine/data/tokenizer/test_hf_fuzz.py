"""Tokenizer files with anything in the wrong place are refused, or can be used: nothing else ever happens."""

import contextlib
import copy
import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf_file import bundle
from nima_cli.engine.data.tokenizer.load import tokenizer_from_bytes
from nima_cli.errors import CheckpointError, NimaError
from tests.engine.data.hf_tokenizers import NAMES, hf_files

VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**70, 1e308, "", "x", "\u2581", " ", "NFC", "\x00", "a" * 5000, [], {}, [[]], [None],
    {"type": "Sequence"}, {"type": "ByteLevel"}, {"type": "Metaspace", "replacement": "\u2581\u2581"}, {"Regex": ""},
    {"type": "Digits", "individual_digits": True}, {"Regex": "(?=)"}, {"String": ""},
    {"type": "Prepend", "prepend": ""}, {"type": "Strip", "content": " ", "start": 2**60, "stop": 2**60},
    {"type": "FixedLength", "length": 0}, {"type": "Replace", "pattern": {"String": ""}, "content": "aaa"},
]  # fmt: skip


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything in a JSON value, of long lists and tables their beginning."""
    keys: Iterable[Any] = ()
    if isinstance(value, dict | list):
        keys = list(value)[:30] if isinstance(value, dict) else range(min(len(value), 15))
    return [above, *(path for key in keys for path in places(value[key], (*above, key)))]


def mutated(generator: random.Random) -> dict[str, str]:
    files = hf_files(generator.choice(NAMES))
    name = generator.choice(["tokenizer.json"] * 6 + ["tokenizer_config.json"])
    content = json.loads(files[name])
    for _ in range(generator.choice([1, 1, 2, 3])):
        path = generator.choice(places(content)[1:])
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = copy.deepcopy(generator.choice(VALUES))
    return files | {name: json.dumps(content)}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_in_the_files_they_are_refused_or_work(seed: int) -> None:
    generator, loaded = random.Random(seed), 0
    for _ in range(150):
        with contextlib.suppress(CheckpointError):
            tokenizer = tokenizer_from_bytes(bundle(mutated(generator)), where="crafted")
            loaded += 1
            assert len(tokenizer.byte_lengths()) == tokenizer.vocab_size
            assert tokenizer.stop_ids
            for text in ("Hi <|im_end|> 12 猫\n\n x", " a", "\ufdd01\ufdd1"):
                with contextlib.suppress(NimaError):
                    ids = tokenizer.encode(text)
                    assert tokenizer.special_ids.isdisjoint(ids)
                    tokenizer.decode(ids)
                    tokenizer.chat.render([Turn("user", text), Turn("assistant", text)], loss="assistant")
    assert 20 < loaded < 130
