"""From files, folders and globs to documents."""
