"""Text to token ids and back: tokenizers, the chat format, and samples."""
