"""nima's own trainer, whole: data, schedule, guards, log lines as events; no evaluation or save falls into a turn."""

import tempfile
from pathlib import Path

from shapes import SHAPES, arguments
from turns import Turns

from nima_cli.cli.home import compiled
from nima_cli.config.load import load_config
from nima_cli.config.schema import Config
from nima_cli.engine.data.store.dataset import open_dataset
from nima_cli.engine.device import keep_freed_memory, pick_device
from nima_cli.engine.kernels.trust import trusted_kernels
from nima_cli.engine.training.loss import linear_cross_entropy
from nima_cli.engine.training.run_spec import make_run_spec
from nima_cli.engine.training.trainer import Trainer
from nima_cli.events import StepDone

NEVER = 10**6


def main() -> None:
    """Train until there are no more turns."""
    parser = arguments()
    asked = parser.parse_args()
    config = load_config(None, preset=asked.shape, environ={}).config
    micro_batch = min(asked.micro_batch, asked.rows)
    training = config.training.model_dump() | {
        "batch_size": micro_batch, "gradient_accumulation_steps": asked.rows // micro_batch,
        "epochs": 10000.0, "max_steps": NEVER, "eval_steps": NEVER, "save_steps": NEVER, "log_steps": asked.steps,
    }  # fmt: skip
    model = config.model.model_dump() | {"context_length": SHAPES[asked.shape].context, "dropout": 0.0}
    config = Config.model_validate({**config.model_dump(), "training": training, "model": model})
    device = pick_device(asked.device, config.training.use_mixed_precision)
    kernels = trusted_kernels(device, config, compiled(), linear_cross_entropy).kernels
    keep_freed_memory()
    turns = Turns()
    with tempfile.TemporaryDirectory() as folder:
        turns.begin()
        dataset = open_dataset(asked.data)
        for event in Trainer(make_run_spec(config, dataset), dataset, Path(folder), device, kernels=kernels).run():
            if isinstance(event, StepDone):
                turns.begin()


if __name__ == "__main__":
    main()
