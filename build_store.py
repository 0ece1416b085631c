"""The build step as a plain script for batch systems: the same command as `seal-store build`."""

import sys

from seal_store.cli import run

if __name__ == "__main__":
    run(["build", *sys.argv[1:]])
