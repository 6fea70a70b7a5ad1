"""What a folder must hold, and what happens to one that is incomplete, linked, or made by other programs."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nima_cli.engine.pretrained.load import load_pretrained
from nima_cli.errors import CheckpointError, ResourceError
from tests.engine.pretrained.others import (
    ODD_VALUES,
    change_json,
    ends_in_one_line,
    random_model,
    refusal,
    save_folder,
)

safetensors = pytest.importorskip("safetensors.torch")
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(random_model("llama", num_hidden_layers=1), tmp_path_factory.mktemp("plain") / "theirs")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "theirs"
    return save_folder(random_model("llama"), folder, max_shard_size="100KB")


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A folder to change."""
    return Path(shutil.copytree(plain, tmp_path / "theirs"))


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    """A sharded folder to change."""
    return Path(shutil.copytree(sharded, tmp_path / "theirs"))


def change_tensors(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Set tensors of `model.safetensors`, with `__` for a full stop; None takes one away."""
    path = folder / "model.safetensors"
    found = safetensors.load_file(path) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    safetensors.save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", ": no `config.json`"),
        ("model.safetensors", ": neither `model.safetensors` nor `model.safetensors.index.json` is there"),
        ("tokenizer.json", ": no `tokenizer.json`"),
    ],
)
def test_a_missing_file_is_named(missing: str, message: str, folder: Path) -> None:
    (folder / missing).unlink()
    assert refusal(folder) == message


def test_a_pickle_is_refused_by_name_and_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin.index.json", "pytorch_model.bin"):
        os.mkfifo(folder / name)  # which would wait for ever
        assert f"its weights are a pickle (`{name}`), which can run programs" in refusal(folder)


def test_adapters_alone_are_refused_by_name(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")
    assert refusal(folder) == ": holds adapters (`adapter_config.json`), not a whole model"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"model__norm__weight": None}, ": does not fit its own description: `model.norm.weight` is missing"),
        ({"model__norm__weight": torch.ones(63)}, "`model.norm.weight` is (63,), expected (64,)"),
        ({"model__layers__1__mlp__up_proj__weight": torch.ones(3)}, "`model.layers.1.mlp.up_proj.weight` is not part"),
        ({"model__layers__0__self_attn__q_proj__bias": torch.ones(64)}, "`model.layers.0.self_attn.q_proj.bias` is n"),
        ({"norm__weight": torch.ones(64)}, "`norm.weight` is there twice"),
        ({"model__norm__weight": torch.full((64,), float("nan"))}, "`model.norm.weight` holds values that are not fi"),
        ({"model__norm__weight": torch.full((64,), float("-inf"))}, "holds values that are not finite"),
        ({"model__norm__weight": torch.full((64,), float("nan")).bfloat16()}, "holds values that are not finite"),
        ({"model__norm__weight": torch.ones(64).to(torch.int8)}, "`model.norm.weight` is of the type I8"),
    ],
)
def test_tensors_that_do_not_fit_the_config_are_named(tensors: dict[str, Any], message: str, folder: Path) -> None:
    change_tensors(folder, **tensors)
    assert message in refusal(folder)


def test_what_old_versions_of_transformers_saved_beside_the_weights_is_left_out(folder: Path) -> None:
    change_tensors(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(8))
    assert len(load_pretrained(folder).model) == 11


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_is_not_followed(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to("../elsewhere")
    assert refusal(folder) == f"{name}: is a link out of its folder"


def test_links_of_the_hub_s_client_are_followed(folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(folder.iterdir()):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert len(load_pretrained(snapshot).model) == 11
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(tmp_path / "models--a--b")
    assert refusal(snapshot) == "config.json: is a link out of its folder"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(name: str, folder: Path) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", encoding="utf-8")
    assert refusal(folder) == f"{name}: only a Git LFS pointer to the file, not the file"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_or_a_folder_is_no_file(name: str, folder: Path) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refusal(folder) == f"{name}: it is no regular file"
    (folder / name).unlink()
    (folder / name).mkdir()
    assert refusal(folder) == f"{name}: it is no regular file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "config.json: damaged: not JSON"),
        ("[" * 100_000, "config.json: damaged: not JSON: nested too deeply"),
        ('{"a": 1, "a": 2}', "config.json: damaged: not JSON: key `a` occurs twice"),
        ('{"vocab_size": NaN}', "config.json: damaged: not JSON: `NaN` is not JSON"),
        (" " * (5 << 20), "config.json: larger than 4 MB"),
    ],
)
def test_a_config_that_is_none_is_refused(content: str, message: str, folder: Path) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    assert refusal(folder).startswith(message)


def test_a_bomb_of_small_values_is_not_parsed(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[" + "{}," * (1 << 21) + "{}]", encoding="utf-8")
    assert refusal(folder) == "tokenizer.json: damaged: more than 2,097,152 lists and objects"


def test_a_key_that_occurs_twice_among_a_million_is_found_at_once(folder: Path) -> None:
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    (folder / "config.json").write_text(f'{{{keys},"x":1,"x":2}}', encoding="utf-8")
    assert "key `x` occurs twice" in refusal(folder)


def test_no_value_of_a_config_has_any_other_end_than_one_line(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8"))
    more = ("rope_scaling", "rope_theta", "sliding_window", "layer_types", "partial_rotary_factor", "max_window_layers")
    refused = 0
    for layout in ("mistral", "qwen3"):
        for key in {*content, *more}:
            for value in ODD_VALUES:
                changed = {**content, "model_type": layout, "architectures": None, key: value}
                (folder / "config.json").write_text(json.dumps(changed), encoding="utf-8")
                refused += ends_in_one_line(folder)
    assert refused > 500


def test_missing_shards_are_counted_and_named(shards: Path) -> None:
    files = sorted(shards.glob("*.safetensors"))
    for file in files[1:3]:
        file.unlink()
    assert refusal(shards) == (f": of {len(files)} files of weights 2 are not here: {files[1].name}, {files[2].name}")


@pytest.mark.parametrize("name", ["../theirs/x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", 5, None, [1]])
def test_an_index_names_files_in_its_folder_only(name: Any, shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text("utf-8"))
    change_json(shards / INDEX, weight_map={**index["weight_map"], "model.norm.weight": name})
    assert "is not the name of a safetensors file in this folder" in refusal(shards)


@pytest.mark.parametrize("content", [[], {}, {"weight_map": {}}, {"weight_map": [1]}], ids=str)
def test_an_index_without_places_is_refused(content: Any, shards: Path) -> None:
    (shards / INDEX).write_text(json.dumps(content), encoding="utf-8")
    assert refusal(shards) == f"{INDEX}: damaged: it has no `weight_map`"


def test_shards_must_hold_what_the_index_says(shards: Path) -> None:
    places = json.loads((shards / INDEX).read_text("utf-8"))["weight_map"]
    other = next(shard for shard in places.values() if shard != places["model.norm.weight"])
    change_json(shards / INDEX, weight_map={**places, "model.norm.weight": other})
    assert f"`model.norm.weight` is not in {other}" in refusal(shards)
    change_json(shards / INDEX, weight_map={name: place for name, place in places.items() if "norm" not in name})
    assert "which it does not say" in refusal(shards)


def test_an_unreadable_file_is_a_matter_of_the_machine(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "config.json").chmod(0)
    with pytest.raises(ResourceError, match="permission denied"):
        load_pretrained(folder)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_pretrained(tmp_path / "nowhere")
