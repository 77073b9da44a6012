"""Trains and tests the ablation's networks that are missing, then writes the record that notebook 10 and the docs show.

`python benchmarks/ablation.py` takes hours on two cores. `--share 1/2` and `--share 2/2`, in two processes, halve that.
"""

import argparse

from common import record

from tanet.demo import ablation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", default="1/1", help="2/3: the second of three shares; default: all")
    ablation.run_cells(parser.parse_args().share)
    record("ablation", ablation.table_rows())


if __name__ == "__main__":
    main()
