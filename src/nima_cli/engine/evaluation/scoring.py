"""A model's loss on every token of a split, added up by group."""

from collections.abc import Generator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from nima_cli.engine.data.store.dataset import TokenDataset
from nima_cli.engine.evaluation.groups import Groups, MetricSums
from nima_cli.engine.model.gpt import GPT
from nima_cli.engine.training.loss import IGNORE
from nima_cli.errors import DivergedError
from nima_cli.events import Progress

_TOKENS_PER_BATCH = 8192
_POSITIONS_PER_CHUNK = 512  # whose logits are held at once


@torch.no_grad()
def score(
    model: GPT,
    split: TokenDataset,
    groups: Groups,
    byte_lengths_V: npt.NDArray[np.int32],
    *,
    batch_tokens: int = _TOKENS_PER_BATCH,
) -> Generator[Progress, None, MetricSums]:
    """Every token of the split as a target once, in windows of one context side by side.

    Raises:
        DivergedError: a loss is not a finite number.
    """
    context = model.shape.context_length
    windows, size = split.windows(context), max(1, batch_tokens // context)
    device = model.embed_tokens.weight.device
    sums = MetricSums(groups.count)
    model.eval()
    for start in range(0, windows, size):
        yield Progress("evaluating", start, windows, "windows")
        numbers = np.arange(start, min(start + size, windows))
        batch = split.window_batch(numbers.tolist(), context)
        targets_N = batch.targets_BT.flatten()
        h_BTC = model.hidden(batch.inputs_BT.to(device))
        loss_N, correct_N = _losses(h_BTC.flatten(0, 1), model.head_weight_VC, targets_N.to(device))
        valid_N = (targets_N != IGNORE).numpy()
        places_N = (numbers[:, None] * context + np.arange(1, context + 1)).ravel()[valid_N]
        bytes_N = byte_lengths_V[targets_N.numpy()[valid_N]]
        sums.add(groups.codes_P[places_N], loss_N.cpu().numpy()[valid_N], bytes_N, correct_N.cpu().numpy()[valid_N])
    return sums


def _losses(h_NC: torch.Tensor, head_VC: torch.Tensor, targets_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss in nats float32 [N] and whether the prediction was right bool [N]; zero where the target carries no loss."""
    cast_VC = head_VC.to(h_NC.dtype)
    losses, correct, size = [], [], _POSITIONS_PER_CHUNK
    for part_NC, part_N in zip(torch.split(h_NC, size), torch.split(targets_N, size), strict=True):
        logits_NV = F.linear(part_NC, cast_VC).float()
        losses.append(F.cross_entropy(logits_NV, part_N, ignore_index=IGNORE, reduction="none"))
        correct.append(logits_NV.argmax(dim=-1) == part_N)
    loss_N = torch.cat(losses)
    if not bool(torch.isfinite(loss_N).all()):
        raise DivergedError("the model's predictions are not finite numbers", hint="use an earlier checkpoint")
    return loss_N, torch.cat(correct)
