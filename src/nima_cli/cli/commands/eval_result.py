"""The result of an evaluation as one plain object, which `--json` prints and the views draw."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.engine.evaluation.continuations import Continuations
    from nima_cli.engine.evaluation.run import Evaluation
    from nima_cli.engine.training.evaluator import Metrics


def result_fields(found: "Evaluation") -> dict[str, Any]:
    """The figures of the split and of all else that was asked for.

    With baselines, `behind` names those that need no more bits per byte than the model.
    """
    fields, baselines = _figures(found.total), found.baselines
    if baselines:
        fields["baselines"] = [
            {name: getattr(one, name) for name in ("name", "bits_per_byte", "note")} for one in baselines
        ]
        fields["behind"] = _behind(fields, {one.name: one.bits_per_byte for one in baselines})
    if found.by:
        fields["by"] = {dimension: [] for dimension in found.by}
    for dimension, rows in found.by.items():
        for name, row in rows.items():
            figures = {"name": name, **_figures(row)}
            if baselines:
                figures["baselines"] = {one.name: one.by.get(dimension, {}).get(name) for one in baselines}
                figures["behind"] = _behind(figures, figures["baselines"])
            fields["by"][dimension].append(figures)
    if baselines:
        fields["verdict"] = _verdict(fields)
    if found.continuations is not None:
        fields["writing"] = _writing(found.continuations)
    if found.answers is not None:
        answers, samples = found.answers, [asdict(one) for one in found.answers.asked]
        scores = {"f1": answers.f1, "exact_match": answers.exact}
        fields["answers"] = {"asked": len(samples), "held_out": answers.held_out, **scores, "samples": samples}
    return fields


def _figures(row: "Metrics") -> dict[str, Any]:
    perplexity = row.perplexity if math.isfinite(row.perplexity) else None
    bits_per_byte = row.bits_per_byte if row.bytes else None
    figures = {"loss": row.loss, "perplexity": perplexity, "accuracy": row.accuracy, "bits_per_byte": bits_per_byte}
    return {**figures, "tokens": row.tokens, "bytes": row.bytes}


def _behind(figures: Mapping[str, Any], baselines: Mapping[str, float | None]) -> list[str]:
    bits = figures["bits_per_byte"]
    return [name for name, other in baselines.items() if bits is not None and other is not None and other <= bits]


def _verdict(fields: Mapping[str, Any]) -> str:
    """One sentence on where the model is ahead of the baselines, and where it is not."""
    if fields["behind"]:
        return f"over the whole split the model is behind {', '.join(fields['behind'])}"
    rows = [row for rows in fields.get("by", {}).values() for row in rows]
    behind = [f"{row['name']} ({', '.join(row['behind'])})" for row in rows if row["behind"]]
    if behind:
        return f"over the whole split the model is ahead of every baseline; it is behind on {', '.join(behind)}"
    return "the model is ahead of every baseline" + (" everywhere" if rows else "")


def _writing(writing: "Continuations") -> dict[str, Any]:
    from nima_cli.engine.evaluation.memorization import RUN_TOKENS

    texts = writing.texts
    blocks = [(block, one.finished) for one in texts for block in one.blocks]
    return {
        "texts": len(texts),
        "tokens": sum(one.tokens for one in texts),
        "finished": sum(one.finished for one in texts),
        "fences": {
            "opened": len(blocks),
            "closed": sum(block.closed for block, _ in blocks),
            "cut": sum(not block.closed and not finished for block, finished in blocks),
        },
        "blocks": {
            language: {
                "checked": sum(block.language == language and block.valid is not None for block, _ in blocks),
                "valid": sum(block.language == language and block.valid is True for block, _ in blocks),
            }
            for language in ("yaml", "json", "shell")
        },
        "shell_checked": writing.shell_checked,
        "copies": {
            "at_least": RUN_TOKENS,
            "share": writing.memorized.share,
            "longest": writing.memorized.longest,
            "longest_text": writing.longest_copy,
            "held_out_share": writing.held_out_memorized.share,
            "held_out_longest": writing.held_out_memorized.longest,
        },
        "samples": [
            {name: getattr(one, name) for name in ("prompt", "text", "seed", "tokens", "finished")} for one in texts
        ],
    }
