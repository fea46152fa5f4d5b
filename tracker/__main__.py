"""Lets `python -m tracker` do what the `tracker` command does."""

from tracker.cli.main import main

if __name__ == "__main__":
    main()
