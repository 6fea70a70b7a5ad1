"""nima's decoder: so many greedy tokens after a prompt, one stream."""

import argparse

from turns import Turns

from nima_cli.cli.inference import load_model
from nima_cli.engine.inference.generator import Generator, StoppingCriteria
from nima_cli.engine.inference.sampling import SamplingParams


def main() -> None:
    """Decode until there are no more turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--torch", action="store_true", help="without the compiled program")
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--prompt", type=int, nargs="+", required=True, help="token ids")
    asked = parser.parse_args()
    turns = Turns()
    loaded = load_model(asked.checkpoint, device="cpu", dtype=asked.dtype)
    generator = Generator(loaded.model, None if asked.torch else loaded.backend())
    stops = StoppingCriteria(frozenset(), asked.tokens)
    turns.take(
        lambda: list(generator.decode(asked.prompt, sampling=SamplingParams(temperature=0.0), stops=stops, seed=0))
    )


if __name__ == "__main__":
    main()
