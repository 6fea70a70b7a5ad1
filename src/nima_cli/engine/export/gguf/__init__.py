"""Writes GGUF files for llama.cpp, and what Ollama needs beside them."""
