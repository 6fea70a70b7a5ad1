"""Evaluates a model: by source and kind, against simple predictors, in what it writes and answers."""
