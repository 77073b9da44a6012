"""`python -m tanet.demo data` makes the demo data sets; `python -m tanet.demo` trains, tests and runs the notebooks."""

import argparse

from tanet.demo import ROOT, make_demo_kinetics, make_demo_something, run_all


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tanet.demo", description="The demo, on made videos.")
    parser.add_argument("step", nargs="?", choices=("data", "all"), default="all", help="default: all")
    parser.add_argument("--root", default=ROOT / "data", help="folder to write the two data sets into; default: data")
    parser.add_argument("--seed", type=int, default=0, help="of the demo data")
    chosen = parser.parse_args()
    if chosen.step == "data":
        for make in (make_demo_kinetics, make_demo_something):
            print(make(chosen.root, seed=chosen.seed))
    else:
        run_all()


if __name__ == "__main__":
    main()
