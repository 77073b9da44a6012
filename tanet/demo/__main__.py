"""`python -m tanet.demo data` makes the demo data sets. `python -m tanet.demo` trains, tests and runs the notebooks.

`python -m tanet.demo networks` trains the networks that come with the repository, and stores them anew.

`python -m tanet.demo picture` makes the moving picture of the README.

`make demo` runs the first, then the data scripts on the demo data, then the second.
"""

import argparse

from tanet.demo import (
    ROOT,
    STORED,
    make_demo_kinetics,
    make_demo_late,
    make_demo_something,
    make_picture,
    run_all,
    store,
    trained,
)
from tanet.runtime import user_path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tanet.demo", description="Make the demo data, or run the whole demo."
    )
    parser.add_argument(
        "step",
        nargs="?",
        choices=("data", "networks", "picture", "all"),
        default="all",
        help="data: make the data only; networks: train those in notebooks/networks anew; picture: make docs/clip.gif; "
        "default: all, the whole demo",
    )
    parser.add_argument(
        "--root", type=user_path, default=ROOT / "data", help="with data: folder of the sets; default: data"
    )
    parser.add_argument("--seed", type=int, default=0, help="with data: seed of the videos; default: 0")
    chosen = parser.parse_args()
    if chosen.step == "data":
        for make in (make_demo_kinetics, make_demo_something, make_demo_late):
            print(make(chosen.root, seed=chosen.seed))
    elif chosen.step == "networks":
        for name, temporal in STORED:
            store(name, temporal, trained(name, temporal))
    elif chosen.step == "picture":
        make_picture(ROOT / "docs" / "clip.gif")
    else:
        run_all()


if __name__ == "__main__":
    main()
