"""Decoding with `decode.cpp`: hands it a model's weights and a cache's memory, and checks that it computes the same."""

import ctypes
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from nima_cli.engine.inference.decode_backend import TorchStepper
from nima_cli.engine.inference.int8 import Int8Rows
from nima_cli.engine.inference.sampling import Sampling
from nima_cli.engine.kernels.build import NoProgramError, library
from nima_cli.engine.kernels.decoder.program import DECODER
from nima_cli.engine.kernels.decoder.structures import Choice, Decoder, Layer, Matrix, load
from nima_cli.engine.model.cache import KVCache
from nima_cli.engine.model.gpt import GPT, NORM_EPSILON
from nima_cli.errors import DivergedError

_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_PROBE = (1, 2, 3)  # ids that any vocabulary has
# Weights that are worth another thread: threads wait for each other nine times a layer, on a busy machine for long.
_BYTES_PER_THREAD = 4 * 2**20


def native_stepper(model: GPT, folder: Path, rows: Mapping[str, Int8Rows] | None = None) -> "NativeStepper | None":
    """A stepper for a model on the CPU, or None where the model is elsewhere or in another type.

    Args:
        model: in float32 or bfloat16.
        folder: where compiled programs are kept between runs.
        rows: the model's matrices in int8, as `int8.quantize_` left them; they are then read instead.

    Raises:
        NoProgramError: this machine cannot have one, or it computes something else than torch.
    """
    weight = model.embed_tokens.weight
    if weight.device.type != "cpu" or weight.dtype not in _KINDS:
        return None
    path = library(DECODER, folder)
    try:
        program = load(path)
    except OSError as error:  # such as a folder that nothing may be run from
        raise NoProgramError(f"what was compiled cannot be loaded: {error}") from error
    stepper = NativeStepper(program, model, rows or {})
    if not _agrees(stepper, model):
        raise NoProgramError("what was compiled computes something else than torch here")
    return stepper


class NativeStepper:
    """See `stepper.Stepper`; the same numbers as torch up to rounding, and the same whatever the number of threads."""

    cache_dtype = torch.float32

    def __init__(self, program: ctypes.CDLL, model: GPT, rows: Mapping[str, Int8Rows]) -> None:
        self._program, self._model, self._rows = program, model, rows
        weight_bytes = model.shape.parameters() * (1 if rows else model.embed_tokens.weight.element_size())
        self._threads = max(1, min(torch.get_num_threads(), weight_bytes // _BYTES_PER_THREAD))
        self._alive: list[object] = []
        self._cache: KVCache | None = None
        self._decoder = Decoder()

    def step(self, token: int, cache: KVCache) -> torch.Tensor:
        """See `Stepper`."""
        if self._cache is not cache:
            self._decoder, self._cache = self._describe(cache), cache
        assert cache.length < cache.capacity, "the caller keeps within the capacity"
        logits_BV = torch.empty(1, self._model.shape.vocab_size)
        self._program.nima_step(self._decoder, token, cache.length, logits_BV.data_ptr(), self._threads)
        cache.length += 1
        return logits_BV

    def pick(self, logits_BV: torch.Tensor, sampling: Sampling, uniform: float, seen_BV: torch.Tensor) -> int:
        """See `Stepper`."""
        choice = Choice(**asdict(sampling))
        vocabulary = logits_BV.shape[1]
        token = self._program.nima_pick(logits_BV.data_ptr(), seen_BV.data_ptr(), vocabulary, choice, uniform)
        if token < 0:
            raise DivergedError("the model's predictions are not finite numbers", hint="use an earlier checkpoint")
        return int(token)

    def _describe(self, cache: KVCache) -> Decoder:
        """Everything that a step reads and writes, by address."""
        assert cache.keys_BHTD[0].dtype is torch.float32
        shape, rotary = self._model.shape, self._model.rotary
        self._alive = []
        layers = (Layer * shape.n_layers)(*(self._layer(index, cache) for index in range(shape.n_layers)))
        head = self._matrix("embed_tokens" if self._model.lm_head is None else "lm_head")
        kind = torch.int8 if self._rows else self._model.embed_tokens.weight.dtype
        return Decoder(
            layers=shape.n_layers,
            width=shape.d_model,
            heads=shape.n_heads,
            kv_heads=shape.n_kv_heads,
            head_width=shape.head_dim,
            hidden=shape.d_ff,
            vocabulary=shape.vocab_size,
            capacity=cache.capacity,
            kind=_KINDS[kind],
            epsilon=NORM_EPSILON,
            layer=layers,
            head=head,
            embedding=ctypes.pointer(self._matrix("embed_tokens")),
            gain=self._floats(self._model.norm.weight),
            cosines=self._floats(rotary.cos_TE),
            sines=self._floats(rotary.sin_TE),
        )

    def _layer(self, index: int, cache: KVCache) -> Layer:
        block, place = self._model.get_submodule(f"layers.{index}"), f"layers.{index}"
        norms = {name: parameter for name, parameter in block.named_parameters() if parameter.ndim == 1}
        return Layer(
            query=self._matrix(f"{place}.self_attn.q_proj"),
            key=self._matrix(f"{place}.self_attn.k_proj"),
            value=self._matrix(f"{place}.self_attn.v_proj"),
            output=self._matrix(f"{place}.self_attn.o_proj"),
            gate=self._matrix(f"{place}.mlp.gate_proj"),
            up=self._matrix(f"{place}.mlp.up_proj"),
            down=self._matrix(f"{place}.mlp.down_proj"),
            input_gain=self._floats(norms["input_layernorm.weight"]),
            query_gain=self._floats(norms.get("self_attn.q_norm.weight")),
            key_gain=self._floats(norms.get("self_attn.k_norm.weight")),
            mlp_gain=self._floats(norms["post_attention_layernorm.weight"]),
            keys=cache.keys_BHTD[index].data_ptr(),
            values=cache.values_BHTD[index].data_ptr(),
        )

    def _matrix(self, module: str) -> Matrix:
        weight = self._model.get_parameter(f"{module}.weight")
        rows, columns = weight.shape
        if (quantized := self._rows.get(f"{module}.weight")) is not None:
            self._alive.append(quantized)
            return Matrix(quantized.values.data_ptr(), quantized.scales.data_ptr(), rows, columns)
        held = weight.detach().contiguous()
        self._alive.append(held)
        return Matrix(held.data_ptr(), None, rows, columns)

    def _floats(self, numbers: torch.Tensor | None) -> int | None:
        if numbers is None:
            return None
        held = numbers.detach().float().contiguous()
        self._alive.append(held)
        return held.data_ptr()


@torch.inference_mode()
def _agrees(stepper: NativeStepper, model: GPT) -> bool:
    """Whether a few steps give what torch gives: a compiler's mistake must not become a strange text."""
    found, expected = (_steps(kind, model) for kind in (stepper, TorchStepper(model)))
    # In 16 bit torch rounds every activation, and the program none.
    tolerance = 1e-3 if model.compute_dtype is torch.float32 else 0.1
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1.0))


def _steps(stepper: NativeStepper | TorchStepper, model: GPT) -> torch.Tensor:
    capacity = min(len(_PROBE), model.shape.context_length)
    cache = KVCache(
        model.shape, batch=1, capacity=capacity, device=torch.device("cpu"), dtype=stepper.cache_dtype
    )  # fmt: skip
    return torch.cat([stepper.step(token % model.shape.vocab_size, cache) for token in _PROBE[:capacity]])
