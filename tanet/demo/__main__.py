"""`python -m tanet.demo data` makes the demo data sets. `python -m tanet.demo` trains, tests and runs the notebooks.
`python -m tanet.demo picture` makes the README's moving picture.

`make demo` runs the first, then the data scripts on the demo data, then the second.
"""

import argparse

from tanet.demo import ROOT, make_demo_kinetics, make_demo_something, make_picture, run_all
from tanet.runtime import user_path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tanet.demo", description="Make the demo data, or run the whole demo."
    )
    parser.add_argument(
        "step",
        nargs="?",
        choices=("data", "picture", "all"),
        default="all",
        help="data: make the data only; picture: make docs/clip.gif; default: all, the whole demo",
    )
    parser.add_argument(
        "--root", type=user_path, default=ROOT / "data", help="with data: folder of the sets; default: data"
    )
    parser.add_argument("--seed", type=int, default=0, help="with data: seed of the videos; default: 0")
    chosen = parser.parse_args()
    if chosen.step == "data":
        for make in (make_demo_kinetics, make_demo_something):
            print(make(chosen.root, seed=chosen.seed))
    elif chosen.step == "picture":
        make_picture(ROOT / "docs" / "clip.gif")
    else:
        run_all()


if __name__ == "__main__":
    main()
