"""The commands: they translate the command line, call the engine late, and show its events."""
