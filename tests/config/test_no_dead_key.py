"""A key that validates changes something: each one is read outside the schema, from a value known to be its section."""

from pathlib import Path

import pytest

import nima_cli
from nima_cli.config.keys import section_type, sections
from tests.config.readers import reads

SOURCE = Path(nima_cli.__file__).parent
# Acts while layers are merged, before there is a Config to read it from; test_load.py shows that it does.
READ_WHILE_LOADING = {"model.preset"}
KEYS = {
    (section.__name__, name): ".".join((*path, name))
    for path, section in sections().items()
    for name, field in section.model_fields.items()
    if section_type(field.annotation) is None
}


def test_every_key_is_read() -> None:
    schema = SOURCE / "config" / "schema.py"
    found = reads(path.read_text("utf-8") for path in sorted(SOURCE.rglob("*.py")) if path != schema)
    unread = [key for read, key in KEYS.items() if read not in found and key not in READ_WHILE_LOADING]
    assert unread == [], f"nothing reads {', '.join(unread)} (from a value annotated with its section's class)"


EPOCHS = ("TrainingConfig", "epochs")
PATIENCE = ("EarlyStoppingConfig", "patience")


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("def f(config: Config): return config.training.epochs", EPOCHS),
        ("def f(training: TrainingConfig | None): return training.epochs", EPOCHS),
        ("def f(training: 'TrainingConfig'): return lambda: training.epochs", EPOCHS),
        ("def f(config: Config):\n t = config.training\n return t.epochs", EPOCHS),
        ("def f(config: Config):\n if (t := config.training).epochs: pass", EPOCHS),
        ("class Run:\n config: Config\ndef f(run): return run.config.training.epochs", EPOCHS),
        ("class A:\n def g(self): return self.t.epochs\n def __init__(self, t: TrainingConfig): self.t = t", EPOCHS),
        ("def load() -> Config: ...\nload().training.epochs", EPOCHS),
        ("def f(config: Config): return config.training.early_stopping.patience", PATIENCE),
        ("def f(data: DataConfig): return [s.weight for s in data.sources]", ("SourceConfig", "weight")),
        ("def f(a: list[SourceConfig]):\n for i, s in enumerate(a): s.weight", ("SourceConfig", "weight")),
    ],
)
def test_a_read_is_found(source: str, read: tuple[str, str]) -> None:
    assert read in reads([source])


@pytest.mark.parametrize(
    "source",
    [
        "def f(run): return run.epochs",
        "def f(run): return run.training.epochs",
        "def f(model): return model.early_stopping.patience",
        "def f(data: DataConfig): return data.epochs",
        "def f(config: Config): config.training.epochs = 3",
        "def f(config: Config): return config.epochs",
        "def f(t: TrainingConfig):\n t = other()\n return t.epochs",
        "class A:\n def f(self): return self.training.epochs",
        "epochs = 3; print(epochs, 'training.epochs')",
        "def f(t: TrainingConfig): ...\ndef g(t): return t.epochs",
    ],
)
def test_another_thing_of_the_same_name_is_no_read(source: str) -> None:
    assert reads([source]) & {EPOCHS, PATIENCE} == set()


def test_a_key_of_one_section_is_no_read_of_its_namesake() -> None:
    assert reads(["def f(config: Config): return config.data.seed"]) == {("Config", "data"), ("DataConfig", "seed")}
