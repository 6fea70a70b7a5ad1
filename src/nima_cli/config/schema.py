"""Every setting of nima with its type, default, bounds and description, and the presets.

A default of `None` means "chosen from the rest of the run"; the description says how.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from nima_cli.config.data_schema import DataConfig
from nima_cli.config.section import Float, Int, Name, Section, optional, setting

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PresetName = Literal["gpt-tiny", "gpt-small", "gpt-medium"]


class ModelConfig(Section):
    """The shape of the network: a preset, numbers of your own, a preset with some changed, or a pretrained model's."""

    preset: PresetName | None = setting(
        "gpt-tiny", "A ready-made shape; `null` means that the sizes below are all given by hand."
    )
    n_layers: Int | None = optional("Transformer blocks. From the preset.", ge=1, le=256)
    d_model: Int | None = optional("Width of the residual stream. From the preset.", ge=8, le=16384)
    n_heads: Int | None = optional("Attention heads; must divide `d_model`.", ge=1, le=256)
    n_kv_heads: Int | None = optional("Key/value heads (grouped-query attention); must divide `n_heads`.", ge=1, le=256)
    d_ff: Int | None = optional("Hidden width of the SwiGLU MLP. From the preset.", ge=8, le=65536)
    head_dim: Int | None = optional("Width of one head; by default `d_model` / `n_heads`.", ge=2, le=4096)
    context_length: Int | None = optional("Tokens the model can look back on. From the preset.", ge=8, le=1 << 20)
    vocab_size: Int | None = optional(
        "Rows of the embedding; by default the tokens of the tokenizer.", ge=1, le=1 << 20
    )
    dropout: Float = setting(0.0, "Dropout on the residual branches while training.", ge=0.0, lt=1.0)
    qk_norm: bool = setting(True, "RMS-normalise queries and keys per head (Qwen3); off gives Llama's layout.")
    rope_theta: Float = setting(10000.0, "Base of the rotary position frequencies.", gt=1.0)
    rope_scaling: dict[str, str | int | float] | None = optional(
        "How rotary positions were stretched over a longer context: `kind` (linear, llama3 or yarn) and its numbers."
    )
    norm_epsilon: Float = setting(1e-6, "What RMSNorm adds to the mean square.", gt=0.0, lt=1.0)
    qkv_bias: bool = setting(False, "Biases at queries, keys and values (Qwen2).")
    tie_embeddings: bool = setting(True, "Use the token embedding as the output head too.")
    pretrained: Name | None = optional("The pretrained model that the weights came from; nima writes it.")

    @model_validator(mode="after")
    def _check_sizes(self) -> "ModelConfig":
        missing = [key for key in ("n_layers", "d_model", "n_heads") if getattr(self, key) is None]
        if self.preset is None and missing:
            raise ValueError(f"without a preset, {', '.join(f'`{key}`' for key in missing)} must be given")
        uneven = self.d_model and self.n_heads and (self.d_model % self.n_heads or self.d_model // self.n_heads % 2)
        if uneven and self.head_dim is None:
            raise ValueError(
                f"`d_model` {self.d_model} must be an even multiple of `n_heads` {self.n_heads}, "
                "so that every head has the same even width"
            )
        if self.n_heads and self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise ValueError(f"`n_heads` {self.n_heads} must be a multiple of `n_kv_heads` {self.n_kv_heads}")
        return self


Metric = Literal["val_loss", "val_perplexity", "val_bits_per_byte", "val_accuracy", "train_loss", "train_perplexity"]
METRIC_MODES = {metric: "max" if metric == "val_accuracy" else "min" for metric in get_args(Metric)}


class EarlyStoppingConfig(Section):
    """When to stop because validation no longer improves."""

    enabled: bool = setting(True, "Stop when the metric has not improved for `patience` evaluations.")
    patience: Int = setting(
        5, "Evaluations without improvement before stopping; none counts before the learning rate falls.", ge=1
    )
    min_delta: Float = setting(0.0, "Smallest change that counts as an improvement.", ge=0.0)
    metric: Metric = setting(
        "val_loss",
        "What is watched; it also decides which checkpoint is the best. "
        "Training's own are means since the evaluation before.",
    )
    mode: Literal["min", "max"] | None = optional("Whether lower or higher is better; by default what fits the metric.")

    @model_validator(mode="after")
    def _check_mode(self) -> "EarlyStoppingConfig":
        right = METRIC_MODES[self.metric]
        if self.mode is not None and self.mode != right:
            chosen = f"`mode: {self.mode}` with `metric: {self.metric}`"
            raise ValueError(f"{chosen} would keep the worst model; use `{right}`")
        return self


class LoraConfig(Section):
    """Low-rank adapters (Hu et al., 2106.09685): train small matrices beside frozen ones of a pretrained model."""

    enabled: bool = setting(False, "Train adapters instead of all weights: less memory, nearly the same quality.")
    rank: Int = setting(16, "Inner width of an adapter.", ge=1, le=1024)
    alpha: Float = setting(32.0, "Scale of the adapters: what they add is multiplied by `alpha` / `rank`.", gt=0.0)
    dropout: Float = setting(0.0, "Dropout on the input of the adapters while training.", ge=0.0, lt=1.0)
    targets: list[Projection] = setting(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], "The matrices that get one."
    )


class TrainingConfig(Section):
    """How long, how fast and with which optimizer."""

    epochs: Float | None = optional(
        "Passes over the train split; may be a fraction. By default 1 to 5: more, the less text there is "
        "for the size of the model.",
        gt=0.0,
        le=10000.0,
    )
    max_steps: Int | None = optional("Stop after this many optimizer steps if epochs are longer.", ge=1)
    batch_size: Int | None = optional(
        "Rows of `context_length` tokens in one forward pass. By default as many as make steps of 2,048 to "
        "16,384 tokens: more, the longer the run.",
        ge=1,
        le=65536,
    )
    gradient_accumulation_steps: Int = setting(
        1, "Forward passes per optimizer step; the effective batch is the product.", ge=1, le=65536
    )
    learning_rate: Float | None = optional(
        "Peak learning rate; for `muon` on AdamW's scale. By default lower, the wider the model and the "
        "longer the run.",
        gt=0.0,
        le=10.0,
    )
    sequence_length: Int | None = optional(
        "Tokens of a sequence to learn from; by default all that the model can look back on, of a pretrained model "
        "at most 512.",
        ge=8,
        le=1 << 20,
    )
    warmup_steps: Int | None = optional(
        "Steps of linear warm-up; by default a fiftieth of the run, with adamw a tenth, at most 100.", ge=0
    )
    lr_scheduler: Literal["cosine", "wsd", "linear", "constant"] = setting(
        "cosine", "Shape after the warm-up: cosine, warmup-stable-decay, linear decay, or constant."
    )
    min_lr: Float = setting(0.0, "Learning rate at the end of the schedule.", ge=0.0)
    optimizer: Literal["muon", "adamw"] = setting(
        "muon", "Muon for hidden matrices with AdamW for the rest, or AdamW for all."
    )
    weight_decay: Float | None = optional(
        "Decoupled weight decay on the blocks' matrices. By default 0.1 with adamw; with muon up to 1: "
        "less, the longer the run, and more, the more often it reads the text.",
        ge=0.0,
        le=10.0,
    )
    embedding_weight_decay: Float | None = optional(
        "The same on the embeddings and the head. By default `weight_decay` with adamw; with muon "
        "none for text that is read once, and more, the more often it is read.",
        ge=0.0,
        le=10.0,
    )
    max_grad_norm: Float = setting(1.0, "Clip the global gradient norm to this; 0 turns clipping off.", ge=0.0)
    ema_decay: Float | None = optional(
        "Keep an average of the weights that moves by this slowly, such as 0.999, evaluate it too, and use "
        "the better of both; `null` keeps none.",
        ge=0.0,
        lt=1.0,
    )
    use_mixed_precision: bool | Literal["bf16", "fp16", "int8"] = setting(
        True,
        "Compute in what the device is fastest with (`true`): 16 bit, and on a CPU with AVX512-VNNI and "
        "without AMX matrix products of training in 8 bit. `false` is float32; a named type is that, `int8` also with "
        "AMX, or an error where it cannot be. Weights are kept in float32 always.",
    )
    eval_steps: Int | None = optional("Steps between evaluations; by default a tenth of the run, at most 500.", ge=1)
    log_steps: Int = setting(10, "Steps between logged metrics.", ge=1)
    save_steps: Int | None = optional("Steps between `checkpoint_last.pt`; by default `eval_steps`.", ge=1)
    save_total_limit: Int = setting(
        2,
        "Last checkpoints to keep: the newest, and the ones before it as `checkpoint_step_<n>.pt`. "
        "The best comes on top.",
        ge=2,
    )
    auto_batch: bool = setting(
        True, "Where memory does not suffice, compute each batch in smaller pieces: the same rows, the same learning."
    )
    max_rollbacks: Int = setting(
        0,
        "When the run diverges, go back to the last good checkpoint with half the learning rate, so many "
        "times; 0 ends the run.",
        ge=0,
        le=100,
    )
    seed: Int = setting(42, "Seed of initial weights, data order and dropout.", ge=0, lt=2**63)
    recompute: Literal["auto", "on", "off"] = setting(
        "auto",
        "Keep only the inputs of the layers for the backward pass and compute them twice: a third slower, in far less "
        "memory. `auto` does it where the run would not fit otherwise.",
    )
    lora: LoraConfig = setting(LoraConfig, "Low-rank adapters.")
    early_stopping: EarlyStoppingConfig = setting(EarlyStoppingConfig, "Early stopping.")

    @model_validator(mode="after")
    def _check_rates(self) -> "TrainingConfig":
        if self.learning_rate is not None and self.min_lr > self.learning_rate:
            raise ValueError(f"`min_lr` {self.min_lr:g} is above `learning_rate` {self.learning_rate:g}")
        return self


class SamplingConfig(Section):
    """How the next token is chosen."""

    temperature: Float = setting(0.8, "Randomness; 0 always takes the most likely token.", ge=0.0, le=100.0)
    top_k: Int = setting(50, "Choose among this many most likely tokens; 0 takes all.", ge=0)
    top_p: Float = setting(0.95, "Choose among the most likely tokens of this total probability.", gt=0.0, le=1.0)
    min_p: Float = setting(0.0, "Drop tokens below this share of the most likely one.", ge=0.0, lt=1.0)
    repetition_penalty: Float = setting(
        1.0, "Above 1: repeat less of what was already said; 1 is off.", gt=0.0, le=100.0
    )


class GenerationConfig(SamplingConfig):
    """Text samples drawn at each evaluation, so that you can watch the model learn to write."""

    enabled: bool = setting(True, "Draw samples at each evaluation.")
    prompts: list[Annotated[str, Field(min_length=1)]] = setting(
        ["The module", "To create a", "How do I"], "Beginnings to continue."
    )
    max_length: Int = setting(32, "New tokens per sample.", ge=1, le=131072)
    num_samples: Int = setting(1, "Samples per prompt.", ge=1, le=64)


class EvaluationConfig(Section):
    """Evaluation while training; `nima eval` always reads the whole split."""

    max_tokens: Int | None = setting(
        32768, "Validation tokens per evaluation, spread evenly over the split; `null` takes all.", ge=1
    )
    generation: GenerationConfig = setting(GenerationConfig, "Text samples.")


class WandbConfig(Section):
    """Weights & Biases (extra `wandb`); the key comes from WANDB_API_KEY or `wandb login`, never from here."""

    enabled: bool = setting(False, "Send metrics to Weights & Biases.")
    project: Name = setting("nima", "Project name.")
    entity: Name | None = optional("User or team.")
    name: Name | None = optional("Name of the run; by default that of the run directory.")
    tags: list[Name] = setting([], "Tags of the run.")


class MonitoringConfig(Section):
    """Where metrics go, besides `metrics.jsonl`, which is always written."""

    tensorboard: bool = setting(True, "Write TensorBoard event files to `tensorboard/`.")
    plots: bool = setting(True, "Draw PNG plots of loss, perplexity and learning rate to `plots/`.")
    wandb: WandbConfig = setting(WandbConfig, "Weights & Biases.")


def _no_gpu_twice(ids: list[int]) -> list[int]:
    if len(set(ids)) != len(ids):
        raise ValueError(f"{ids} names a GPU twice")
    return ids


class HardwareConfig(Section):
    """The machine."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "Where to compute; `auto` takes `cuda` where there is one, else `cpu`; `mps` is untested."
    )
    distributed: bool = setting(False, "Train with several processes on this machine, one per entry of `gpu_ids`.")
    gpu_ids: Annotated[list[Annotated[Int, Field(ge=0)]], AfterValidator(_no_gpu_twice)] = setting(
        [], "GPUs to use; empty means the first, or with `distributed` all. On a CPU, one process per entry."
    )
    compiler: Literal["auto", "torch", "none"] = setting(
        "auto",
        "Train with programs that are compiled for this machine: `auto` where that pays, on a CPU nima's "
        "own kernels, on a GPU the layers by torch.compile when the run takes some minutes; `torch` the layers by "
        "torch.compile in any case; `none` nothing.",
    )
    backend: Literal["auto", "nccl", "gloo"] = setting(
        "auto", "How processes talk; `auto` takes nccl for GPUs and gloo for CPUs; one alone does not."
    )
    check_memory: bool = setting(
        True, "Refuse a run that needs far more memory than there is, before anything is built."
    )


class Config(Section):
    """Everything that defines a run."""

    model: ModelConfig = setting(ModelConfig, "The network.")
    data: DataConfig = setting(DataConfig, "The data.")
    training: TrainingConfig = setting(TrainingConfig, "The training.")
    evaluation: EvaluationConfig = setting(EvaluationConfig, "Evaluation while training.")
    monitoring: MonitoringConfig = setting(MonitoringConfig, "Monitoring.")
    hardware: HardwareConfig = setting(HardwareConfig, "The machine.")


def _preset(n_layers: int, d_model: int, n_heads: int, d_ff: int, context: int, **training: Any) -> dict[str, Any]:
    sizes = {"n_layers": n_layers, "d_model": d_model, "n_heads": n_heads, "n_kv_heads": n_heads, "d_ff": d_ff}
    return {"model": {**sizes, "context_length": context}, "training": {**training, "lr_scheduler": "wsd"}}


# A preset is a layer between defaults and YAML; its sizes are for the default vocabularies below.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "gpt-tiny": _preset(n_layers=4, d_model=256, n_heads=4, d_ff=480, context=512),
    "gpt-small": _preset(n_layers=12, d_model=768, n_heads=12, d_ff=2048, context=1024, batch_size=16),
    "gpt-medium": _preset(n_layers=24, d_model=1024, n_heads=16, d_ff=3072, context=1024, batch_size=16),
}
# The same layer where a pretrained model is tuned: Muon turns every matrix at once, too far from what it knows.
TUNING: dict[str, dict[str, Any]] = {"training": {"optimizer": "adamw", "lr_scheduler": "cosine"}}
PRESET_VOCAB_SIZES = {"gpt-tiny": 8192, "gpt-small": 8192, "gpt-medium": 16384}


def safe_name(name: str) -> bool:
    """Whether `name` is one plain path component on every system, Windows included."""
    reserved = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
    plain = bool(name) and name == PurePath(name).name and not set(name) & set('<>:"/\\|?*\0')
    return plain and name not in (".", "..") and not name.startswith("-") and name.split(".")[0].upper() not in reserved
