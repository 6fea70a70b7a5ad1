"""Other formats of documents, each turned into Markdown by a pure function of its text."""
