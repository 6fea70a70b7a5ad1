"""The task of `docs/evaluation.md` runs in lm-eval, offline, and gives the likelihoods that nima itself gives."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nima_cli.engine.checkpoint.file import load_for_inference, save
from nima_cli.engine.data.store.dataset import open_dataset
from tests.conftest import RunCli
from tests.engine.small_models import small_checkpoint

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"
needs_lm_eval = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("lm_eval", "accelerate")),
    reason="lm-eval is not installed: pip install 'nima[eval]'",
)


def from_the_page(folder: Path) -> list[str]:
    """Write the page's two files; returns the arguments of its lm-eval command."""
    text = PAGE.read_text("utf-8")
    (folder / "tasks").mkdir()
    for kind, name in (("yaml", "kubectl.yaml"), ("json", "kubectl.jsonl")):
        found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert found is not None
        (folder / "tasks" / name).write_text(found[1], "utf-8")
    command = re.search(r"^HF_HUB_OFFLINE=1 lm-eval (.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    assert command is not None
    return command[1].replace("\\\n", " ").split()


def by_nima(run: Path, question: str, choice: str) -> float:
    """Log-likelihood of an answer; the blank line before it counts with it, as lm-eval has it."""
    model, tokenizer, _ = load_for_inference(run, compute_dtype=torch.float32)
    context = [tokenizer.bos_id, *tokenizer.encode(question)]
    whole = torch.tensor([tokenizer.bos_id, *tokenizer.encode(f"{question}\n\n{choice}")])
    logits_TV = model(whole[None, :-1])[0].detach()
    first = len(context) - 1
    return -F.cross_entropy(logits_TV[first:], whole[first + 1 :], reduction="sum").item()


@needs_lm_eval
def test_a_local_task(tiny_dataset: Path, run_cli: RunCli, tmp_path: Path) -> None:
    save(tmp_path / "best.pt", small_checkpoint(open_dataset(tiny_dataset).tokenizer, context_length=96))
    arguments = from_the_page(tmp_path)
    export = run_cli(
        "export", "--checkpoint", "best.pt", "--format", "hf", "--output", "exports/technical", cwd=tmp_path
    )
    assert export.code == 0, export.stderr
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    ran = subprocess.run(
        [sys.executable, "-m", "lm_eval", *arguments, "--log_samples"],
        cwd=tmp_path, env={**os.environ, **offline}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (summary,) = (tmp_path / "results").rglob("results_*.json")
    accuracy = json.loads(summary.read_text("utf-8"))["results"]["kubectl"]["acc,none"]
    (log,) = (tmp_path / "results").rglob("samples_*.jsonl")
    rows: list[dict[str, Any]] = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    right = []
    for row in rows:
        doc = row["doc"]
        ours = [by_nima(tmp_path / "best.pt", doc["question"], choice) for choice in doc["choices"]]
        theirs = [float(response[0]) for response in row["filtered_resps"]]
        assert theirs == pytest.approx(ours, abs=1e-3)
        right.append(max(range(len(ours)), key=ours.__getitem__) == doc["answer"])
    assert len(right) == 3
    assert accuracy == pytest.approx(sum(right) / len(right))
