"""Hugging Face's generate on the exported folder: so many greedy tokens after a prompt, one stream."""

import argparse
from pathlib import Path

import torch
import transformers
from turns import Turns


def main() -> None:
    """Decode until there are no more turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--prompt", type=int, nargs="+", required=True, help="token ids")
    asked = parser.parse_args()
    turns = Turns()
    transformers.utils.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(asked.folder, local_files_only=True)
    model = model.to(getattr(torch, asked.dtype)).eval()
    row = torch.tensor([asked.prompt])
    told = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None, "eos_token_id": None}

    def decode() -> None:
        said = model.generate(
            row, attention_mask=torch.ones_like(row), max_new_tokens=asked.tokens, min_new_tokens=asked.tokens, **told
        )
        assert said.shape[1] == len(asked.prompt) + asked.tokens

    turns.take(decode)


if __name__ == "__main__":
    main()
