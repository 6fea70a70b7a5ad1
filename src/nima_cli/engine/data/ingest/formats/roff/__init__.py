"""Manual pages to Markdown."""
