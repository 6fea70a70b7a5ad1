"""Exports of nima, to be read back."""

from tests.engine.export.conftest import saved, tokenizers

__all__ = ["saved", "tokenizers"]
