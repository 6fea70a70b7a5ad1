"""Text generation: sampling, decoding, conversations."""
