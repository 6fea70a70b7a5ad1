"""Where events are kept: files and services; each sink is a callable with `close()`; never imports the engine."""
