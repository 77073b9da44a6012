"""`python -m tanet.evaluate`: the command `tanet evaluate` by its older name."""

import sys

from tanet.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
