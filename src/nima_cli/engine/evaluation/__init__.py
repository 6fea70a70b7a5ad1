"""What a model is worth: by source and kind, against simple predictors, in what it writes and answers."""
