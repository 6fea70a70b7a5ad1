"""A checkpoint in other people's formats, each proved by reading it back."""
