"""`python -m tanet.train`: the command `tanet train` by its older name."""

import sys

from tanet.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
