"""Writes a folder that Hugging Face transformers loads without code of nima."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from nima_cli import __version__
from nima_cli.engine.data.document import Turn
from nima_cli.engine.data.tokenizer.hf import HFTokenizer
from nima_cli.engine.export import hf_files, places, safetensors_file, verify
from nima_cli.engine.export.source import Source, Written
from nima_cli.engine.model.layout import hf_name
from nima_cli.files import atomic_write, write_json, write_text

WEIGHTS = "model.safetensors"
NAMES = (WEIGHTS, *hf_files.NAMES, places.CARD)


def export(source: Source, path: Path, card: str) -> Written:
    """Write the folder `path` atomically."""
    places.check_folder(path, NAMES, WEIGHTS)
    contents = hf_files.files_of(source, str(path))
    with places.new_folder(path) as folder:
        tensors = {hf_name(name): tensor for name, tensor in source.tensors.items()}
        check_weights = partial(safetensors_file.read_back, expected=tensors, where=str(path))
        with atomic_write(folder / WEIGHTS, verify=check_weights) as stream:
            safetensors_file.write_tensors(Path(stream.name), tensors, places.safetensors_metadata(__version__))
        for name, content in contents.items():
            (write_text if isinstance(content, str) else write_json)(folder / name, content)
        write_text(folder / places.CARD, card)
        verified, unverified = _read_back(folder, source, str(path))
    names = [name for name in NAMES if name in (WEIGHTS, *contents, places.CARD)]
    return Written(tuple(path / name for name in names), source.shape.parameters(), verified, unverified, [])


def _read_back(path: Path, source: Source, where: str) -> tuple[list[str], list[str]]:
    """Load `path` with transformers, if it is installed; returns what was verified and what could not be."""
    verified = [f"read back by safetensors: {len(source.tensors)} equal tensors"]
    if find_spec("transformers") is None:
        return verified, [
            "logits, ids and chat format in transformers: it is not installed (pip install transformers, export again)"
        ]
    import transformers

    with quietly(transformers):
        model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True).float().eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        verified += [
            f"loaded by transformers {transformers.__version__}: {_logits(model, source, where)}",
            _ids(tokenizer, source, where),
            _chat(tokenizer, source, where),
        ]
    return verified, []


@contextlib.contextmanager
def quietly(transformers: Any) -> Iterator[None]:
    """Turn progress bars and warnings of transformers off for the block."""
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


def _logits(model: Any, source: Source, where: str) -> str:
    rows = verify.sample_rows(source.tokenizer, source.shape.context_length)
    return verify.compare_logits(logits_of(model, rows), source.rounded_logits, where)


def logits_of(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Float32 logits [T time, V vocabulary] of each row from a model of transformers."""
    return verify.logits_of(lambda ids_BT: model(ids_BT).logits, rows)


def _ids(tokenizer: Any, source: Source, where: str) -> str:
    ours = source.tokenizer
    texts = verify.encodings(ours)
    if isinstance(ours, HFTokenizer):  # its own library reads what spells a symbol as the symbol, nima does not
        for text, ids in texts.items():
            if not (ours.leading_space and text.startswith(" ")):  # see `HFTokenizer.encode`
                found = tokenizer(text, add_special_tokens=False)["input_ids"]
                verify.compare(found, ids, where, f"the ids of {text!r}")
        return f"the same ids for {len(texts)} texts"
    for text in (*texts, verify.SPELLED_MARK):
        ids = ours.encode(text)
        verify.compare(tokenizer(text)["input_ids"], [ours.bos_id, *ids], where, f"the ids of {text!r}")
        verify.compare(tokenizer.decode(ids), text, where, f"the text of the ids of {text!r}")
    for text in (*texts, verify.SPELLED_SYMBOLS):
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        verify.compare(found, ours.encode(text), where, f"the ids of {text!r}")
    return f"the same ids for {len(texts) + 2} texts"


def _chat(tokenizer: Any, source: Source, where: str) -> str:
    def theirs(turns: tuple[Turn, ...], *, prompt: bool) -> object:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=prompt, return_dict=False)

    prompts = verify.chat_prompts(source.tokenizer)
    for turns, ids in prompts:
        verify.compare(theirs(turns, prompt=True), ids, where, "the ids of a chat prompt")
        if not isinstance(source.tokenizer, HFTokenizer):
            answered = (*turns, Turn("assistant", "Hello.\n"))
            ours = source.tokenizer.chat.render(answered, loss="all").ids
            verify.compare(theirs(answered, prompt=False), ours, where, "the ids of a conversation")
    return "the same chat format" if prompts else "a chat format that takes no conversation"
