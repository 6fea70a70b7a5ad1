"""Converters of file formats to Markdown, text or records, one module for each format."""
