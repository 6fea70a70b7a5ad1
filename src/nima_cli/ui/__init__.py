"""What a person sees in the terminal, made of events and plain values."""
