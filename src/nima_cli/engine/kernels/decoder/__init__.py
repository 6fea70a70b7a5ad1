"""Decoding one token at a time by a small program in C++, where this machine can compile it."""
