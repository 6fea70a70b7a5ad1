"""The programs behind `nima train`: training, a dry run, the proof of exact resumption, an evaluation."""
