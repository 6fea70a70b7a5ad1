"""Text in, token ids on disk, batches out."""
