"""What a run needs and what suits it, computed before it starts."""
