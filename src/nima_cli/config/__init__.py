"""What the user may set, and how it becomes one validated `Config`."""
