"""`python -m tanet.checkpoint`: the command `tanet checkpoint` by its older name."""

import sys

from tanet.cli import main

if __name__ == "__main__":
    main(["checkpoint", *sys.argv[1:]])
