"""Finds the setting or value that a user meant; needs no pydantic."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches


def plain(word: str) -> str:
    """A word as the tables spell it: lower case, without dashes and underscores."""
    return word.lower().replace("-", "").replace("_", "")


def inverted(words: Mapping[str, str]) -> dict[str, str]:
    """Each word of a line -> the key of that line."""
    return {word: ours for ours, line in words.items() for word in line.split()}


# Our key: what others call it, as `plain` spells it.
_KEYS = inverted({
    "learning_rate": "lr maxlr peaklr", "min_lr": "minlearningrate", "weight_decay": "wd decay",
    "batch_size": "bs batch microbatchsize perdevicetrainbatchsize", "optimizer": "optim optimiser",
    "gradient_accumulation_steps": "accumulation gradaccum gradientaccumulation gradaccumsteps", "ema_decay": "ema",
    "max_grad_norm": "gradclip clipgrad gradientclipping clip", "epochs": "numepochs numtrainepochs",
    "max_steps": "steps iters maxiters iterations numsteps totalsteps", "warmup_steps": "warmup warmupiters",
    "lr_scheduler": "scheduler schedule lrschedule lrschedulertype", "eval_steps": "evalevery evalinterval",
    "use_mixed_precision": "amp fp16 bf16 mixedprecision precision dtype", "save_steps": "saveevery saveinterval",
    "log_steps": "logevery loginterval loggingsteps", "n_layers": "layers nlayer numlayers numhiddenlayers depth",
    "n_heads": "heads nhead numheads numattentionheads", "n_kv_heads": "kvheads numkeyvalueheads",
    "d_model": "dim nembd embdim hiddensize width", "d_ff": "ffdim intermediatesize", "vocab_size": "vocab",
    "context_length": "blocksize seqlen maxseqlen sequencelength contextsize ctx nctx", "temperature": "temp",
    "top_k": "topk", "top_p": "topp", "compiler": "compile", "distributed": "ddp", "gpu_ids": "gpus",
})  # fmt: skip
_VALUES = inverted({
    "cuda": "gpu nvidia cuda:0", "mps": "metal apple mac",
    "float16": "half fp16 f16", "bfloat16": "bf16", "float32": "fp32 f32 full float", "int8": "8bit q8",
    "gpt-tiny": "tiny", "gpt-small": "small", "gpt-medium": "medium", "adamw": "adam", "exact": "exact-match",
    "val": "validation valid dev", "train": "training", "test": "testing",
    "bpe": "sentencepiece byte", "char": "character chars",
    "qa": "alpaca dolly instruction instruct faq sft", "doc": "text plain markdown pretrain",
    "chat": "sharegpt openai chatml messages conversations conversation",
})  # fmt: skip


def key_for(word: str, keys: Collection[str]) -> str | None:
    """The one of `keys` that the field calls `word`."""
    found = _KEYS.get(plain(word))
    return found if found in keys else None


def closest(word: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `names` that is spelled most like `word`, if any is close."""
    return next(iter(get_close_matches(word, list(names), n=1, cutoff=cutoff)), None)


def closest_key(word: str, keys: Collection[str]) -> str | None:
    """The one of `keys` that is meant by `word`: by another name, or misspelled."""
    return key_for(word, keys) or closest(word.lower(), keys)


def nearest(value: str, choices: Collection[str]) -> str | None:
    """The one of `choices` that is meant by `value`: by another name, or misspelled."""
    meant = _VALUES.get(value.lower())
    return meant if meant in choices else closest(value.lower(), choices)
