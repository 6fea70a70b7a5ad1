"""Reads an exported folder back, as its users will, and compares; says what it could not check and why."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.chat_format import chat_prompt, render_conversation
from nima_cli.engine.export import safetensors_file, verify
from nima_cli.engine.export.source import Source


def weights(path: Path, source: Source, rename: Callable[[str], str], where: str) -> None:
    """The weights are there, bit for bit.

    Raises:
        CheckpointError: they are not.
    """
    found = safetensors_file.read(path)
    names = {rename(name): name for name in source.tensors}
    verify.check_tensors({names.get(name, name): tensor for name, tensor in found.items()}, source, where)


def folder(path: Path, source: Source, where: str) -> tuple[list[str], list[str]]:
    """Load `path` with transformers, if that is installed: (what was verified, what could not be).

    Raises:
        CheckpointError: it answers or encodes in another way than the checkpoint.
    """
    verified = [f"read back by safetensors: {len(source.tensors)} equal tensors"]
    if find_spec("transformers") is None:
        return verified, [
            "logits, ids and chat format in transformers: it is not installed (pip install transformers, export again)"
        ]
    import transformers

    with _quietly(transformers):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True).float().eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        verified += [
            f"loaded by transformers {transformers.__version__}: {_logits(model, source, where)}",
            _ids(tokenizer, source, where),
            _chat(tokenizer, source, where),
        ]
    return verified, []


@contextlib.contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """No bars and no advice from transformers, whose settings are put back afterwards."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


@torch.inference_mode()
def _logits(model: Any, source: Source, where: str) -> str:
    rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
    found = [model(torch.tensor([row])).logits[0] for row in rows]
    return verify.compare_logits(found, verify.own_logits(source.shape, source.tensors, rows), where)


def _ids(tokenizer: Any, source: Source, where: str) -> str:
    ours = source.tokenizer
    for text in (*verify.TEXTS, verify.SPELLED_MARK):
        ids = ours.encode(text)
        verify.compare(tokenizer(text)["input_ids"], [ours.bos_id, *ids], where, f"the ids of {text!r}")
        verify.compare(tokenizer.decode(ids), text, where, f"the text of the ids of {text!r}")
    for text in (*verify.TEXTS, verify.SPELLED_SYMBOLS):
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        verify.compare(found, ours.encode(text), where, f"the ids of {text!r}")
    return f"the same ids for {len(verify.TEXTS) + 2} texts"


def _chat(tokenizer: Any, source: Source, where: str) -> str:
    for turns in (verify.CONVERSATION, verify.CONVERSATION[1:]):
        expected = chat_prompt(turns, source.tokenizer)
        verify.compare(_render(tokenizer, turns, prompt=True), expected, where, "the ids of a chat prompt")
        answered = (*turns, Turn("assistant", "Hello.\n"))
        whole = render_conversation(answered, source.tokenizer).ids
        verify.compare(_render(tokenizer, answered, prompt=False), whole, where, "the ids of a conversation")
    return "the same chat format"


def _render(tokenizer: Any, turns: tuple[Turn, ...], *, prompt: bool) -> object:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=prompt, return_dict=False)
