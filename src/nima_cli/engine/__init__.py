"""The library under the commands: data, model, training, inference; prints nothing and knows no terminal."""
