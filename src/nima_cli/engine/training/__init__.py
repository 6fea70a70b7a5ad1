"""Model and data in, events and checkpoints out."""
