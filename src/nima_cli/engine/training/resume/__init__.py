"""Going on with a run: what may change, which checkpoints stay, and proof that it is the same run."""
