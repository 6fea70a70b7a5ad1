"""Lets `python -m nima_cli` do what `nima` does."""

from nima_cli.cli.app import main

if __name__ == "__main__":
    main()
