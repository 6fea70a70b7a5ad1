"""What a checkpoint's values must be: of the right kind, names and shapes, finite, and no larger than the file."""

import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nima_cli.engine.checkpoint.file import Checkpoint, load, load_for_inference
from nima_cli.engine.data.tokenizer.tokenizer import SentencePieceTokenizer
from nima_cli.errors import CheckpointError
from tests.engine.crafted import Claim, Storage, contents, payload_of, refusal, write_archive, write_claims


def change_header(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        payload["header"] = json.dumps({**json.loads(payload["header"]), **changes})

    return change


def change_shape(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        header = json.loads(payload["header"])
        header["model_shape"].update(changes)
        payload["header"] = json.dumps(header)

    return change


def change_tensor(value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        payload["model"]["norm.weight"] = value(payload["model"]["norm.weight"])

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload.__setitem__(key, value)


def put_tensor(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload["model"].__setitem__(name, value)


def forget(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(payload: dict[str, Any]) -> None:
        for key in keys[:-1]:
            payload = payload[key]
        del payload[keys[-1]]

    return change


def set_nan(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.index_fill(0, torch.tensor([3]), float("nan"))


def quantized(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own opinion of quantized tensors
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def sparse(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_sparse()


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no header": (forget("header"), "its header is not JSON"),
    "a header that is no JSON": (put("header", "{"), "its header is not JSON"),
    "a header that is a tensor": (put("header", torch.zeros(2)), "its header is not JSON"),
    "a header without end": (put("header", "[" * 100_000), "its header is not JSON"),
    "a header that is a list": (put("header", "[]"), "its header is no object"),
    "no format": (forget("nima_format"), "not a nima checkpoint: a torch file with `header`"),
    "a format that is no int": (put("nima_format", True), "not a nima checkpoint"),
    "a format that never was": (put("nima_format", 0), "format 0 never existed"),
    "a newer format": (put("nima_format", 9), "made by nima 0.1.0 in format 9; this is nima"),
    "no shape": (change_header(model_shape=None), "14 keys"),
    "a thousand million layers": (change_shape(n_layers=10**9), "`n_layers` is 1000000000"),
    "a huge vocabulary": (change_shape(vocab_size=2**31), "`vocab_size` is 2147483648"),
    "too many parameters": (change_shape(d_model=65536, d_ff=262144, n_layers=1000, head_dim=64), "beyond the limit"),
    "another shape": (change_shape(d_ff=64), "is (48, 32), expected (64, 32)"),
    "a step that is text": (change_header(step="seven"), "wrong kind of `step`"),
    "a step that is true": (change_header(step=True), "wrong kind of `step`"),
    "a step beyond counting": (change_header(step=10**400), "wrong kind of `step`"),
    "a config that is a list": (change_header(config=[]), "wrong kind of `config`"),
    "a dataset without splits": (change_header(dataset={"sources": []}), "wrong kind of `dataset`"),
    "a source that is text": (change_header(dataset={"sources": ["k8s"], "splits": {}}), "wrong kind of `dataset`"),
    "a best that is a number": (change_header(best=3), "wrong kind of `best`"),
    "a best without its step": (change_header(best={"value": 1.0, "loss": 1.0}), "wrong kind of `best`"),
    "seconds that are endless": (change_header(train_seconds=float("inf")), "wrong kind of `train_seconds`"),
    "no model": (forget("model"), "holds no model"),
    "a model that is a list": (put("model", [torch.zeros(2)]), "holds no model"),
    "a missing tensor": (forget("model", "norm.weight"), "`norm.weight` is missing"),
    "another tensor": (put_tensor("lm_head.weight", torch.zeros(2)), "`lm_head.weight` is not part of this model"),
    "a name with a line end": (put_tensor("a\nerror: b" * 99, torch.zeros(2)), "is not part of this model"),
    "another size": (change_tensor(lambda tensor: tensor[:-1].clone()), "`norm.weight` is (31,), expected (32,)"),
    "integers": (change_tensor(lambda tensor: tensor.int()), "`norm.weight` is not a plain tensor"),
    "NaN": (change_tensor(set_nan), "`norm.weight` holds values that are not finite"),
    "infinity": (change_tensor(lambda tensor: tensor / 0), "`norm.weight` holds values that are not finite"),
    "float64": (change_tensor(lambda tensor: tensor.double()), "not a nima checkpoint: wants to call"),
    "complex": (change_tensor(lambda tensor: tensor.to(torch.complex64)), "not a nima checkpoint: wants to call"),
    "sparse": (change_tensor(sparse), "not a nima checkpoint: wants to call"),
    "quantized": (change_tensor(quantized), "not a nima checkpoint: wants to call"),
    "a parameter": (change_tensor(nn.Parameter), "not a nima checkpoint: wants to call"),
    "a number instead of a tensor": (put_tensor("norm.weight", 3), "`norm.weight` is not a plain tensor"),
    "no tokenizer": (forget("tokenizer"), "holds no tokenizer"),
    "a tokenizer of floats": (put("tokenizer", torch.zeros(9)), "holds no tokenizer"),
    "an empty tokenizer": (put("tokenizer", torch.zeros(0, dtype=torch.uint8)), "not a tokenizer that nima can use"),
    "an optimizer that is a list": (put("optimizer", []), "its optimizer state"),
    "an optimizer of others": (put("optimizer", {"x\ny": {}}), "names `x y`, which the model does not have"),
    "an optimizer of another size": (
        put("optimizer", {"norm.weight": {"momentum": torch.zeros(33)}}),
        "`norm.weight.momentum` does not fit the model",
    ),
    "an optimizer with NaN": (
        put("optimizer", {"norm.weight": {"momentum": torch.full((32,), float("nan"))}}),
        "`norm.weight.momentum` does not fit the model",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_named(kind: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    change, expected = WRONG[kind]
    payload = payload_of(checkpoint)
    change(payload)
    torch.save(payload, tmp_path / "wrong.pt")
    assert expected in refusal(tmp_path / "wrong.pt")


def test_the_payload_of_these_tests_loads_when_nothing_is_changed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save(payload_of(checkpoint), tmp_path / "right.pt")
    checkpoint.optimizer = None
    assert contents(load(tmp_path / "right.pt")) == contents(checkpoint)


def test_a_newer_format_says_how_to_update(checkpoint: Checkpoint, tmp_path: Path) -> None:
    torch.save({**payload_of(checkpoint), "nima_format": 7}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "new.pt")
    assert caught.value.hint == "pip install -U nima"


def small_claims(checkpoint_payload: dict[str, Any]) -> dict[str, Any]:
    """A valid model of few bytes: its tensors overlap in one storage, which is allowed."""
    largest = max(tensor.numel() for tensor in checkpoint_payload["model"].values())
    storage = Storage(largest)
    model = {
        name: Claim(tuple(tensor.shape), tensor.stride(), storage=storage)
        for name, tensor in checkpoint_payload["model"].items()
    }
    return {**without_tensors(checkpoint_payload), "model": model, "largest": largest}


def giant_tokenizer(path: Path, payload: dict[str, Any]) -> None:
    value = small_claims(payload)
    value["tokenizer"] = Claim((1 << 40,), (0,), storage=Storage(64, torch.ByteStorage, "1"))
    write_claims(path, value, at_0=bytes(4 * value["largest"]), at_1=bytes(64))


def giant_optimizer(path: Path, payload: dict[str, Any]) -> None:
    value = small_claims(payload)
    proto = payload["tokenizer"].numpy().tobytes()
    value["tokenizer"] = Claim((len(proto),), (1,), storage=Storage(len(proto), torch.ByteStorage, "1"))
    value["optimizer"] = {"norm.weight": {"momentum": Claim((1 << 40,), (0,))}}
    write_claims(path, value, at_0=bytes(4 * value["largest"]), at_1=proto)


def giant_model(path: Path, payload: dict[str, Any]) -> None:
    names = payload["model"]
    write_claims(
        path, {**without_tensors(payload), "model": {name: Claim((1 << 20, 1 << 20), (0, 0)) for name in names}}
    )


def giant_of_the_right_shape(path: Path, payload: dict[str, Any]) -> None:
    """A model of 1.6 billion parameters in which each tensor is a view of one number."""
    header = json.loads(payload["header"])
    header["model_shape"].update(vocab_size=1 << 20, d_model=1024, d_ff=1 << 17)
    shape = {"embed_tokens.weight": (1 << 20, 1024), "norm.weight": (1024,)}
    for layer in range(2):
        at = f"layers.{layer}"
        shape |= {f"{at}.{part}.weight": (1024,) for part in ("input_layernorm", "post_attention_layernorm")}
        shape |= {f"{at}.self_attn.{part}_proj.weight": (1024, 1024) for part in "qkvo"}
        shape |= {f"{at}.self_attn.{part}_norm.weight": (256,) for part in "qk"}
        shape |= {f"{at}.mlp.{part}_proj.weight": (1 << 17, 1024) for part in ("gate", "up")}
        shape |= {f"{at}.mlp.down_proj.weight": (1024, 1 << 17)}
    model = {name: Claim(size, (0,) * len(size)) for name, size in shape.items()}
    write_claims(path, {**without_tensors(payload), "header": json.dumps(header), "model": model})


def storage_that_lies(path: Path, payload: dict[str, Any]) -> None:
    claim = Claim((1 << 30,), (1,), storage=Storage(1 << 30))
    write_claims(path, {**without_tensors(payload), "model": {"norm.weight": claim}})


def view_beyond_its_storage(path: Path, payload: dict[str, Any]) -> None:
    write_claims(path, {**without_tensors(payload), "model": {"norm.weight": Claim((16,), (1,), offset=1 << 30)}})


def zip_bomb(path: Path, payload: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2), compress_type=zipfile.ZIP_STORED)
        with archive.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(64):
                entry.write(bytes(1 << 24))


def entry_that_lies(path: Path, payload: dict[str, Any]) -> None:
    """The directory says that an entry is larger than the whole file."""
    write_archive(path, pickle.dumps({}, protocol=2), extra={"archive/data/0": b"\x11" * 4321})
    data = path.read_bytes()
    path.write_bytes(data.replace((4321).to_bytes(4, "little"), (0xFFFFFF00).to_bytes(4, "little")))


def without_tensors(payload: dict[str, Any]) -> dict[str, Any]:
    return {key: payload[key] for key in ("nima_format", "header")}


GIANTS = (
    giant_tokenizer, giant_optimizer, giant_model, giant_of_the_right_shape, storage_that_lies,
    view_beyond_its_storage, zip_bomb, entry_that_lies,
)  # fmt: skip

# Loads each file in turn and says how it was refused, and by how much memory the process grew at most.
BOUNDED = """
import resource, sys
from pathlib import Path
from nima_cli.engine.checkpoint.file import load_for_inference
from nima_cli.errors import CheckpointError
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (1 << 30), resource.RLIM_INFINITY))
for name in sys.argv[1:]:
    before = peak()
    try:
        load_for_inference(Path(name))
        print("loaded", 0, sep="\\t")
    except CheckpointError as error:
        print(error.message.removeprefix(name), peak() - before, sep="\\t")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_a_giant_claim_costs_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    paths = []
    for write in GIANTS:
        paths.append(tmp_path / f"{write.__name__}.pt")
        write(paths[-1], payload_of(checkpoint))
        assert paths[-1].stat().st_size < 8 << 20, "the file itself must be small"
    script = [sys.executable, "-c", BOUNDED, *map(str, paths)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(zip((write.__name__ for write in GIANTS), done.stdout.splitlines(), strict=True))
    for name, line in lines.items():
        message, kilobytes = line.split("\t")
        assert message.startswith((": damaged", ": not a nima", ": does not fit", ": holds no", ": its ")), (name, line)
        assert int(kilobytes) < 64 << 10, (name, line)


@pytest.mark.parametrize(("name", "in_order"), [("neg", False), ("conj", False), ("", True)])
@pytest.mark.parametrize("key", ["tokenizer", "model"])
def test_a_lazy_view_is_refused(
    key: str, name: str, in_order: bool, checkpoint: Checkpoint, tokenizer: SentencePieceTokenizer, tmp_path: Path
) -> None:
    """Negated or conjugated when read; without that, the same file loads."""
    value = small_claims(payload_of(checkpoint))
    storage, size = Storage(len(tokenizer.proto), torch.ByteStorage, "1"), (len(tokenizer.proto),)
    lazy = {name: True} if name else None
    value["tokenizer"] = Claim(size, (1,), storage=storage, metadata=lazy if key == "tokenizer" else None)
    claim = Claim((32,), (1,), storage=Storage(value["largest"]), metadata=lazy if key == "model" else None)
    value["model"]["norm.weight"] = claim
    path = write_claims(tmp_path / "lazy.pt", value, at_0=bytes(4 * value["largest"]), at_1=tokenizer.proto)
    if in_order:
        assert load_for_inference(path)[2].tokenizer_proto == tokenizer.proto
    else:
        assert refusal(path)
