"""JSON and JSON Lines: from bytes to records, and from records to documents."""
