"""Words that other programs use for our settings and values, and the nearest of ours to a word; needs no pydantic."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

# Spelled without dashes and underscores, in lower case.
KEYS: Mapping[str, str] = {
    "lr": "learning_rate", "maxlr": "learning_rate", "peaklr": "learning_rate", "minlearningrate": "min_lr",
    "bs": "batch_size", "batch": "batch_size", "microbatchsize": "batch_size", "perdevicetrainbatchsize": "batch_size",
    "accumulation": "gradient_accumulation_steps", "gradaccum": "gradient_accumulation_steps",
    "gradientaccumulation": "gradient_accumulation_steps", "gradaccumsteps": "gradient_accumulation_steps",
    "wd": "weight_decay", "decay": "weight_decay", "gradclip": "max_grad_norm", "clipgrad": "max_grad_norm",
    "gradientclipping": "max_grad_norm", "clip": "max_grad_norm",
    "steps": "max_steps", "iters": "max_steps", "maxiters": "max_steps", "iterations": "max_steps",
    "numsteps": "max_steps", "totalsteps": "max_steps", "numepochs": "epochs", "numtrainepochs": "epochs",
    "warmup": "warmup_steps", "warmupiters": "warmup_steps", "scheduler": "lr_scheduler",
    "schedule": "lr_scheduler", "lrschedule": "lr_scheduler", "lrschedulertype": "lr_scheduler",
    "optim": "optimizer", "optimiser": "optimizer", "ema": "ema_decay",
    "amp": "use_mixed_precision", "fp16": "use_mixed_precision", "bf16": "use_mixed_precision",
    "mixedprecision": "use_mixed_precision", "precision": "use_mixed_precision", "dtype": "use_mixed_precision",
    "evalevery": "eval_steps", "evalinterval": "eval_steps", "logevery": "log_steps", "loginterval": "log_steps",
    "loggingsteps": "log_steps", "saveevery": "save_steps", "saveinterval": "save_steps",
    "layers": "n_layers", "nlayer": "n_layers", "numlayers": "n_layers", "numhiddenlayers": "n_layers",
    "depth": "n_layers", "heads": "n_heads", "nhead": "n_heads", "numheads": "n_heads",
    "numattentionheads": "n_heads", "kvheads": "n_kv_heads", "numkeyvalueheads": "n_kv_heads",
    "dim": "d_model", "nembd": "d_model", "embdim": "d_model", "hiddensize": "d_model", "width": "d_model",
    "ffdim": "d_ff", "intermediatesize": "d_ff", "blocksize": "context_length", "seqlen": "context_length",
    "maxseqlen": "context_length", "sequencelength": "context_length", "contextsize": "context_length",
    "ctx": "context_length", "nctx": "context_length", "vocab": "vocab_size", "temp": "temperature",
    "topk": "top_k", "topp": "top_p", "compile": "compiler", "ddp": "distributed", "gpus": "gpu_ids",
}  # fmt: skip

VALUES: Mapping[str, str] = {
    "gpu": "cuda", "nvidia": "cuda", "cuda:0": "cuda", "metal": "mps", "apple": "mps", "mac": "mps",
    "half": "float16", "fp16": "float16", "f16": "float16", "bf16": "bfloat16", "fp32": "float32", "f32": "float32",
    "full": "float32", "float": "float32", "8bit": "int8", "q8": "int8",
    "tiny": "gpt-tiny", "small": "gpt-small", "medium": "gpt-medium", "adam": "adamw", "exact-match": "exact",
    "validation": "val", "valid": "val", "dev": "val", "training": "train", "testing": "test",
    "sentencepiece": "bpe", "byte": "bpe", "character": "char", "chars": "char",
}  # fmt: skip


def plain(word: str) -> str:
    """A word as the tables above spell it."""
    return word.lower().replace("-", "").replace("_", "")


def key_for(word: str, keys: Collection[str]) -> str | None:
    """The one of `keys` that the field calls `word`."""
    found = KEYS.get(plain(word))
    return found if found in keys else None


def nearest(value: str, choices: Collection[str]) -> str | None:
    """The one of `choices` that is meant by `value`: by another name, or misspelled."""
    meant = VALUES.get(value.lower())
    if meant in choices:
        return meant
    near = get_close_matches(value.lower(), choices, n=1)
    return near[0] if near else None
