"""One module a format of files that are no plain text: from its text or bytes to Markdown, text or records."""
