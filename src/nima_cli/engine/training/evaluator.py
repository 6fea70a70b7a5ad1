"""Loss, perplexity, accuracy and bits per byte of a model over a split."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy.typing as npt
import torch

from nima_cli.engine.data.store.dataset import Batch, TokenDataset
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.distributed.ranks import SINGLE, Ranks
from nima_cli.engine.training.loss import IGNORE, loss_and_correct
from nima_cli.errors import DataError
from nima_cli.events import perplexity

TOKENS_PER_BATCH = 8192


@dataclass(frozen=True, slots=True)
class Metrics:
    """Sums over the targets of a split that carry loss (in nats, and UTF-8 bytes of text), and figures made of them."""

    loss_sum: float
    tokens: int
    n_correct: int
    bytes: int

    @property
    def loss(self) -> float:
        """Nats per token: the mean over tokens, not over batches."""
        return self.loss_sum / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Total bits over bytes of text: comparable between tokenizers, and with a compressor."""
        return self.loss_sum / math.log(2) / max(1, self.bytes)

    @property
    def accuracy(self) -> float:
        """Share of tokens predicted right."""
        return self.n_correct / self.tokens


@torch.no_grad()
def evaluate(
    model: GPT,
    split: TokenDataset,
    byte_lengths_V: npt.ArrayLike,
    *,
    context_length: int | None = None,
    max_tokens: int | None = None,
    ranks: Ranks = SINGLE,
    progress: Callable[[int, int], None] | None = None,
) -> Metrics:
    """Measure `model` on the windows of a split in which a token carries loss; every token is a target once.

    Args:
        byte_lengths_V: UTF-8 bytes of each token id.
        context_length: tokens of a window; by default the model's whole context.
        max_tokens: take about so many, in windows spread evenly over the split, instead of all.
        progress: called with (windows done, windows in all) after each batch, equally often in every process.

    Raises:
        DataError: no token of the split carries loss.
    """
    context = context_length or model.shape.context_length
    with ranks.raise_together():
        carrying = split.windows_with_loss(context)
        if not carrying:
            raise DataError(
                "no token of the split to evaluate on carries loss",
                hint="with `data.loss: assistant` only answers do: prepare the data with conversations in each split, "
                "or with `data.loss: all`",
            )
    windows = [carrying[index] for index in pick_windows(len(carrying), context, max_tokens)]
    mine = windows[ranks.rank :: ranks.world_size]
    most = math.ceil(len(windows) / ranks.world_size)
    device = model.embed_tokens.weight.device
    bytes_V = torch.as_tensor(byte_lengths_V).long()
    was_training = model.training
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    size = max(1, TOKENS_PER_BATCH // context)
    for start in range(0, most, size):
        if start < len(mine):  # else other processes have one more window than this one
            sums += _measure(model, split.window_batch(mine[start : start + size], context), bytes_V, device)
        if progress is not None:
            progress(min(start + size, most), most)
    model.train(was_training)
    ranks.sum_tensors_([sums])
    loss_sum, tokens, n_correct, text_bytes = sums.tolist()
    return Metrics(loss_sum, int(tokens), int(n_correct), int(text_bytes))


def _measure(model: GPT, batch: Batch, bytes_V: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The sums of `Metrics` over some windows."""
    h_BTC = model.hidden(batch.inputs_BT.to(device))
    targets_N = batch.targets_BT.flatten()
    loss_sum, n_correct = loss_and_correct(h_BTC.flatten(0, 1), model.head_weight_VC, targets_N.to(device))
    valid_N = targets_N[targets_N != IGNORE]
    found = [loss_sum.item(), valid_N.numel(), n_correct.item(), bytes_V[valid_N].sum().item()]
    return torch.tensor(found, dtype=torch.float64)


def pick_windows(count: int, context_length: int, max_tokens: int | None) -> list[int]:
    """All window numbers, or about `max_tokens` worth of them, spread evenly."""
    wanted = count if max_tokens is None else max(1, min(count, math.ceil(max_tokens / context_length)))
    return [index * count // wanted for index in range(wanted)]
