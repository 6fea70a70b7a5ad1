"""Reads folders in the format of Hugging Face transformers."""
