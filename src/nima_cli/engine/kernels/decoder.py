"""Decoding on a CPU with `decode.cpp`, which reads a model's weights and a cache's memory.

Axis letters: B batch · V vocabulary
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_int64, c_void_p
from pathlib import Path

import torch

from nima_cli.engine.inference.generator import DecodeBackend
from nima_cli.engine.inference.sampling import SamplingParams
from nima_cli.engine.kernels.build import DECODER, NoProgramError, library
from nima_cli.engine.kernels.convert import Int8Rows
from nima_cli.engine.kernels.native import check_sizes
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT
from nima_cli.errors import DivergedError

_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_PROBE = (1, 2, 3)  # ids of any vocabulary
# Weights for each thread: threads wait for each other nine times a layer, on a busy machine for long.
_BYTES_PER_THREAD = 4 * 2**20
# In the order of `Layer`.
_MATRICES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_NORMS = ("input_layernorm", "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm")


class _Matrix(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("weights", "scales", "bias")), ("rows", c_int64), ("columns", c_int64)
    )  # fmt: skip


class _Layer(Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("query", "key", "value", "output", "gate", "up", "down")),
        *((name, c_void_p) for name in ("input_gain", "query_gain", "key_gain", "mlp_gain", "keys", "values")),
    )


class _Decoder(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("layers", "width", "heads", "kv_heads", "head_width", "hidden")),
        *((name, c_int64) for name in ("vocabulary", "room", "kind")),
        ("epsilon", c_float),
        ("layer", POINTER(_Layer)),
        ("head", _Matrix),
        ("embedding", POINTER(_Matrix)),
        *((name, c_void_p) for name in ("gain", "cosines", "sines")),
    )


class _SamplingParams(Structure):
    _fields_ = (
        ("temperature", c_double), ("top_k", c_int64), ("top_p", c_double), ("min_p", c_double),
        ("repetition_penalty", c_double),
    )  # fmt: skip


def load(path: Path) -> ctypes.CDLL:
    """Load the compiled program; OSError if it cannot be loaded here."""
    found = ctypes.CDLL(str(path))
    check_sizes(found, (_Matrix, _Layer, _Decoder, _SamplingParams))
    found.nima_step.argtypes = (POINTER(_Decoder), c_int64, c_int64, c_void_p, c_int)
    found.nima_step.restype = None
    found.nima_sample.argtypes = (c_void_p, c_void_p, c_int64, POINTER(_SamplingParams), c_double)
    found.nima_sample.restype = c_int64
    return found


def native_backend(model: GPT, folder: Path, rows: Mapping[str, Int8Rows] | None = None) -> "NativeBackend | None":
    """The compiled backend for a float32 or bfloat16 model on the CPU; None for any other.

    Args:
        folder: of compiled programs.
        rows: the model's matrices in int8 from `quantize_`, to be read instead.

    Raises:
        NoProgramError: it cannot be had on this machine, or differs from torch.
    """
    weight = model.embed_tokens.weight
    if weight.device.type != "cpu" or weight.dtype not in _KINDS:
        return None
    path = library(DECODER, folder)
    try:
        program = load(path)
    except OSError as error:  # such as a folder that nothing may be run from
        raise NoProgramError(f"what was compiled cannot be loaded: {error}") from error
    backend = NativeBackend(program, model, rows or {})
    if not _agrees(backend, model):
        raise NoProgramError("what was compiled computes something else than torch here")
    return backend


class NativeBackend(DecodeBackend):
    """Equal to torch up to rounding, whatever the number of threads."""

    def __init__(self, program: ctypes.CDLL, model: GPT, rows: Mapping[str, Int8Rows]) -> None:
        super().__init__(model)
        self.cache_dtype = torch.float32
        self._program, self._rows = program, rows
        weight_bytes = model.shape.parameters() * (1 if rows else model.embed_tokens.weight.element_size())
        self._threads = max(1, min(torch.get_num_threads(), weight_bytes // _BYTES_PER_THREAD))
        self._alive: list[object] = []  # what the description points at
        self._described: tuple[KVCache | None, int] = None, 0  # the cache that the description is of, and its room
        self._decoder = _Decoder()

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        cache.reserve(cache.length + 1)
        if self._described[0] is not cache or self._described[1] != cache.room:
            self._decoder, self._described = self._describe(cache), (cache, cache.room)
        logits_BV = torch.empty(1, self.model.shape.vocab_size)
        self._program.nima_step(self._decoder, token, cache.length, logits_BV.data_ptr(), self._threads)
        cache.length += 1
        return logits_BV

    def sample(self, logits_BV: torch.Tensor, params: SamplingParams, uniform: float, seen_BV: torch.Tensor) -> int:
        found = self._program.nima_sample(
            logits_BV.data_ptr(),
            seen_BV.data_ptr(),
            logits_BV.shape[1],
            _SamplingParams(**params.model_dump()),
            uniform,
        )
        if found < 0:
            raise DivergedError("the model's predictions are not finite numbers", hint="use an earlier checkpoint")
        return int(found)

    def _describe(self, cache: KVCache) -> _Decoder:
        """The addresses of all that a step reads and writes."""
        assert cache.keys_BHTD[0].dtype is torch.float32
        shape, rotary = self.model.shape, self.model.rotary
        self._alive = []
        kind = torch.int8 if self._rows else self.model.embed_tokens.weight.dtype
        return _Decoder(
            *(shape.n_layers, shape.d_model, shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.d_ff),
            *(shape.vocab_size, cache.room, _KINDS[kind]),
            epsilon=shape.norm_epsilon,
            layer=(_Layer * shape.n_layers)(*(self._layer(index, cache) for index in range(shape.n_layers))),
            head=self._matrix("embed_tokens" if self.model.lm_head is None else "lm_head"),
            embedding=ctypes.pointer(self._matrix("embed_tokens")),
            gain=self._floats(self.model.norm.weight),
            cosines=self._floats(rotary.cos_TE),
            sines=self._floats(rotary.sin_TE),
        )

    def _layer(self, index: int, cache: KVCache) -> _Layer:
        parameters = dict(self.model.get_submodule(f"layers.{index}").named_parameters())
        return _Layer(
            *(self._matrix(f"layers.{index}.{name}") for name in _MATRICES),
            *(self._floats(parameters.get(f"{name}.weight")) for name in _NORMS),
            cache.keys_BHTD[index].data_ptr(),
            cache.values_BHTD[index].data_ptr(),
        )

    def _matrix(self, module: str) -> _Matrix:
        weight = self.model.get_parameter(f"{module}.weight")
        bias = self._floats(getattr(self.model.get_submodule(module), "bias", None))
        if (quantized := self._rows.get(f"{module}.weight")) is not None:
            self._alive.append(quantized)
            return _Matrix(quantized.values.data_ptr(), quantized.scales.data_ptr(), bias, *weight.shape)
        held = weight.detach().contiguous()
        self._alive.append(held)
        return _Matrix(held.data_ptr(), None, bias, *weight.shape)

    def _floats(self, values: torch.Tensor | None) -> int | None:
        if values is None:
            return None
        held = values.detach().float().contiguous()
        self._alive.append(held)
        return held.data_ptr()


@torch.inference_mode()
def _agrees(backend: NativeBackend, model: GPT) -> bool:
    """Whether a few steps give what torch gives: a compiler's mistake must not become a strange text."""
    found, expected = (_steps(each) for each in (backend, DecodeBackend(model)))
    # In 16 bit torch rounds every activation, the program does not.
    tolerance = 1e-3 if model.compute_dtype is torch.float32 else 0.1
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1.0))


def _steps(backend: DecodeBackend) -> torch.Tensor:
    shape = backend.model.shape
    capacity = min(len(_PROBE), shape.context_length)
    cache = KVCache(shape, batch=1, capacity=capacity, device=torch.device("cpu"), dtype=backend.cache_dtype)
    return torch.cat([backend.step(token % shape.vocab_size, cache) for token in _PROBE[:capacity]])
