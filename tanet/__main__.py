"""`python -m tanet` and `torchrun -m tanet`: the command `tanet`."""

from tanet.cli import main

if __name__ == "__main__":
    main()
