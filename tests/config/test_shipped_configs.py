"""What we ship is what we test: every YAML in configs/, and that the example explains every key."""

from pathlib import Path

import pytest

from nima_cli.config import strict_yaml
from nima_cli.config.data_schema import BUILTIN_SOURCE, SourceConfig
from nima_cli.config.keys import KeyPath, dotted, leaves
from nima_cli.config.load import dump_yaml, load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
EXAMPLE = CONFIGS / "technical.yaml"


def test_the_promised_files_are_there() -> None:
    assert [path.stem for path in SHIPPED] == ["smoke", "technical", "technical_medium_gpu", "technical_small_gpu"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_config_is_valid_and_needs_no_data_of_its_own(path: Path, tmp_path: Path) -> None:
    config = load_config(path, environ={}).config
    assert [source.path for source in config.data.sources] == [BUILTIN_SOURCE]
    copy = tmp_path / "config.yaml"
    copy.write_text(dump_yaml(config), "utf-8")
    assert load_config(copy, environ={}).config == config


@pytest.mark.parametrize(
    "stem", ["gpt-tiny technical", "gpt-small technical_small_gpu", "gpt-medium technical_medium_gpu"]
)
def test_each_preset_has_its_config(stem: str) -> None:
    preset, name = stem.split()
    assert load_config(CONFIGS / f"{name}.yaml", environ={}).config.model.preset == preset


def test_smoke_is_small() -> None:
    config = load_config(CONFIGS / "smoke.yaml", environ={}).config
    assert (config.model.n_layers, config.model.d_model, config.model.context_length) == (2, 64, 64)
    assert config.model.preset is None
    assert config.training.max_steps is not None
    assert config.training.max_steps <= 500


def test_shipped_configs_do_not_share_a_dataset_folder() -> None:
    folders = [load_config(path, environ={}).config.data.dir for path in SHIPPED]
    assert len(set(folders)) == len(SHIPPED)


def test_the_example_has_every_key() -> None:
    _, lines = strict_yaml.read(EXAMPLE)
    missing = [dotted(key) for key in leaves() if key not in lines]
    missing += [key for key in SourceConfig.model_fields if ("data", "sources", 0, key) not in lines]
    assert missing == []


def test_the_example_says_what_each_key_does() -> None:
    _, lines = strict_yaml.read(EXAMPLE)
    text = EXAMPLE.read_text("utf-8").splitlines()
    keys: list[KeyPath] = [*leaves(), *(("data", "sources", 0, key) for key in SourceConfig.model_fields)]
    # train_ratio and val_ratio share one comment, so a key may stand one line below a key with a comment above it.
    explained = {
        key
        for key in keys
        if "#" in text[lines[key] - 1] or any("#" in text[lines[key] - above].split(":")[0] for above in (2, 3))
    }
    assert [dotted(key) for key in keys if key not in explained] == []
