"""YAML that must be refused, with its place, and that the writer and the reader agree."""

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nima_cli.config.load import dump_yaml, load_config
from nima_cli.config.schema import Config
from nima_cli.config.strict_yaml import dump, parse, parse_value
from nima_cli.errors import ConfigError, ResourceError
from tests.config.loading import refused

SYNTAX = [
    ("", "run.yaml: is empty | "),
    ("# only a comment\n", "run.yaml: is empty | "),
    ("- a\n", "run.yaml:1: expected sections such as `training:` at the top"),
    ("\n\nhello\n", "run.yaml:3: expected sections such as `training:` at the top"),
    ("training:\n\tepochs: 1\n", "run.yaml:2:1: while scanning for the next token, found character '\\t' "
     "that cannot start any token | indent with spaces, not tabs"),
    ("training: {epochs: 1\n", "run.yaml:2:1: while parsing a flow mapping, "),
    ("training:\n  epochs: 1\n  seed: 2\n  epochs: 3\n",
     "run.yaml:4: `training.epochs` is given twice, first in line 2"),
    ("a: &x [1]\nb: *x\n", "run.yaml:1:4: anchors and aliases are not allowed | put quotes round text "),
    ("data:\n  sources:\n    - path: *.md\n", "run.yaml:3:14: while scanning an alias, "),
    ("a: !!python/object/apply:os.system ['exit 3']\n",
     "run.yaml:1: `a`: tag `!!python/object/apply:os.system` is not allowed here"),
    ("a: !!timestamp 2024-01-01\n", "run.yaml:1: `a`: tag `!!timestamp` is not allowed here"),
    ("a: !!int many\n", "run.yaml:1: `a`: tag `!!int` is not allowed here"),
    ("? [a]\n: 1\n", "run.yaml:1: a key must be one word"),
    ("a: 1\n---\nb: 1\n", "run.yaml:2:1: expected a single document in the stream, but found another document"),
    ("a: 1\nb: \x07\n", "run.yaml:2: character U+0007 is not allowed"),
    ("a: " + "[" * 5000, "run.yaml: nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), SYNTAX, ids=range(len(SYNTAX)))
def test_yaml_that_cannot_be_used_names_its_place(tmp_path: Path, text: str, words: str) -> None:
    assert refused(tmp_path, text).startswith(words)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    assert refused(tmp_path, path=tmp_path / "absent.yaml") == "absent.yaml: no such file"
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path, path=tmp_path / "folder") == "folder: is a folder, not a file"
    big = tmp_path / "big.yaml"
    big.write_text("a: 1\n" + "#" * 1_000_000, "utf-8")
    assert refused(tmp_path, path=big) == "big.yaml: too large for a config, more than 1 MB"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"# one\ndata: {dir: caf\xe9}\n")
    assert refused(tmp_path, path=latin) == "latin.yaml:2: not valid UTF-8 (byte 21) | save the file as UTF-8"


def test_a_file_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        load_config(tmp_path / ("n" * 300), environ={})
    assert caught.value.exit_code == 4


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbftraining:\r\n  epochs: 2\r\n")
    assert load_config(path, environ={}).config.training.epochs == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ("{a: 1}", {"a": 1}),
        ('"3"', "3"),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("exp #2: *x", "exp #2: *x"),
    ],
)
def test_values_on_the_command_line(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def _characters(*without: Literal["Cs", "Cc"]) -> st.SearchStrategy[str]:
    return st.characters(exclude_categories=without)


names = st.text(_characters("Cs", "Cc"), min_size=1, max_size=12)
texts = st.one_of(names, st.sampled_from(["1e5", "null", "yes", "0x1f", "1_0", "2024-01-01", ".inf", "~", "- a", "*x"]))


@given(
    project=texts,
    tags=st.lists(texts, max_size=3),
    prompts=st.lists(st.text(_characters("Cs"), min_size=1, max_size=20), max_size=2),
    rate=st.floats(min_value=1e-300, max_value=10.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_what_is_written_loads_again_as_the_same(
    project: str, tags: list[str], prompts: list[str], rate: float, seed: int
) -> None:
    values = {
        "monitoring": {"wandb": {"project": project, "tags": tags}},
        "evaluation": {"generation": {"prompts": prompts}},
        "training": {"learning_rate": rate, "seed": seed},
    }
    config = Config.model_validate(values)
    again, _ = parse(dump_yaml(config), "config.yaml")
    assert Config.model_validate(again) == config


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8)
       )  # fmt: skip
def test_yaml_writer_and_reader_agree(value: Any) -> None:
    assert parse(dump({"key": value}), "x.yaml")[0] == {"key": value}


@given(st.text(_characters("Cs"), max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    message = "x.yaml"
    try:
        parse(text, "x.yaml")
    except ConfigError as error:
        message = error.message
    assert message.startswith("x.yaml")
