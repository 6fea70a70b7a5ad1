"""What an evaluation found as one plain object, which `--json` prints and the views draw; prints nothing itself."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nima_cli.engine.evaluation.answers import Answers
    from nima_cli.engine.evaluation.baselines import Baseline
    from nima_cli.engine.evaluation.continuations import Continuations
    from nima_cli.engine.evaluation.run import Evaluation
    from nima_cli.engine.training.evaluator import Metrics


def found_fields(found: "Evaluation") -> dict[str, Any]:
    """The figures of the split, and one field for each further thing that was asked for.

    Where there are baselines, `behind` names those that need no more bits per byte than the model.
    """
    overall = {one.name: one.bits_per_byte for one in found.baselines}
    fields = _figures(found.total)
    if found.baselines:
        fields["baselines"] = [
            {"name": one.name, "bits_per_byte": one.bits_per_byte, "note": one.note} for one in found.baselines
        ]
        fields["behind"] = _behind(fields["bits_per_byte"], overall)
    if found.by:
        fields["by"] = {
            dimension: [_row(name, row, dimension, found.baselines) for name, row in rows.items()]
            for dimension, rows in found.by.items()
        }
    if found.baselines:
        fields["verdict"] = _verdict(fields)
    if found.continuations is not None:
        fields["writing"] = _writing(found.continuations)
    if found.answers is not None:
        fields["answers"] = _answers(found.answers)
    return fields


def _row(name: str, row: "Metrics", dimension: str, baselines: Sequence["Baseline"]) -> dict[str, Any]:
    figures = _figures(row)
    if not baselines:
        return {"name": name, **figures}
    theirs = {one.name: one.by.get(dimension, {}).get(name) for one in baselines}
    return {"name": name, **figures, "baselines": theirs, "behind": _behind(figures["bits_per_byte"], theirs)}


def _behind(bits: float | None, baselines: Mapping[str, float | None]) -> list[str]:
    return [name for name, other in baselines.items() if bits is not None and other is not None and other <= bits]


def _verdict(fields: Mapping[str, Any]) -> str:
    """One sentence: where the model is ahead of the simple predictors, and where it is not."""
    if fields["behind"]:
        return f"over the whole split the model is behind {', '.join(fields['behind'])}"
    rows = [row for rows in fields.get("by", {}).values() for row in rows]
    behind = [f"{row['name']} ({', '.join(row['behind'])})" for row in rows if row["behind"]]
    if behind:
        return f"over the whole split the model is ahead of every baseline; it is behind on {', '.join(behind)}"
    return "the model is ahead of every baseline" + (" everywhere" if rows else "")


def _figures(row: "Metrics") -> dict[str, Any]:
    return {
        "loss": row.loss,
        "perplexity": row.perplexity if math.isfinite(row.perplexity) else None,
        "accuracy": row.accuracy,
        "bits_per_byte": row.bits_per_byte if row.bytes else None,
        "tokens": row.tokens,
        "bytes": row.bytes,
    }


def _writing(writing: "Continuations") -> dict[str, Any]:
    from nima_cli.engine.evaluation.memorization import RUN_TOKENS

    blocks = [(block, one.finished) for one in writing.texts for block in one.blocks]
    return {
        "texts": len(writing.texts),
        "tokens": sum(one.tokens for one in writing.texts),
        "finished": sum(one.finished for one in writing.texts),
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
            {name: getattr(one, name) for name in ("prompt", "text", "seed", "tokens", "finished")}
            for one in writing.texts
        ],
    }


def _answers(answers: "Answers") -> dict[str, Any]:
    return {
        "asked": len(answers.asked),
        "held_out": answers.held_out,
        "f1": answers.f1,
        "exact_match": answers.exact,
        "samples": [dataclasses.asdict(one) for one in answers.asked],
    }
