"""`python -m tanet.model summary`: the command `tanet summary` by its older name."""

import sys

from tanet.cli import main

if __name__ == "__main__":
    main(sys.argv[1:])
