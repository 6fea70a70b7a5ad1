"""One decoder family: its shape, its forward pass, its cache and its dropout."""
