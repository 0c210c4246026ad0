"""`python -m scaler` is `scaling`."""

from scaler.cli import main

if __name__ == "__main__":
    main(prog_name="scaling")
