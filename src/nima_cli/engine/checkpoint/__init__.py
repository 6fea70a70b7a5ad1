"""Checkpoints: their files, their header, and their tensors."""
