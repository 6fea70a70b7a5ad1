"""nima turns a folder of technical documents into a small GPT of your own."""

__version__ = "0.1.0"
