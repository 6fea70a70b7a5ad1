"""What the user may set, and how the layers become one validated `Config`; never imports torch."""
