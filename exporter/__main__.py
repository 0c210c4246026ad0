"""`python -m exporter` is `monitor`."""

from exporter.cli import main

if __name__ == "__main__":
    main(prog_name="monitor")
