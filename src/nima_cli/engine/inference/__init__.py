"""Model and tokenizer in, text out."""
