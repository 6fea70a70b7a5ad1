"""What a person sees in the terminal; knows events and plain values, never the engine."""
