"""Notebook 9, your own videos."""

import numpy as np
import torch

from tanet.evaluate import interval
from tanet.exercises.checking import exercise, require, require_close


@exercise(1)
def check_1(split) -> None:
    """For each path whether it is for validation: no group on both sides, about the share of all videos."""
    for seed, groups, share in ((0, 6, 0.25), (1, 12, 0.3), (2, 5, 0.5)):
        rng = np.random.default_rng(seed)
        people = [f"p{number}" for number in range(groups) for _ in range(10)]
        paths = [f"class {rng.integers(3)}/{person}-{number:03d}.mp4" for number, person in enumerate(people)]
        rng.shuffle(paths)
        sides = list(split(paths, lambda path: path.split("/")[1].split("-")[0], share))
        require(len(sides) == len(paths), f"an answer for each of {len(paths)} paths, not {len(sides)}")
        where: dict[str, set] = {}
        for path, side in zip(paths, sides):
            where.setdefault(path.split("/")[1].split("-")[0], set()).add(bool(side))
        both = sorted(person for person, found in where.items() if len(found) == 2)
        require(not both, f"{', '.join(both)}: on both sides")
        got = sum(map(bool, sides)) / len(sides)
        require(
            abs(got - share) <= 1 / groups,
            f"{groups} groups: {got:.0%} of the videos are for validation, not {share:.0%}",
        )


@exercise(2)
def check_2(videos_needed) -> None:
    """The fewest videos whose 95% interval is at most `width` points wide, if the share `share` of them is right."""
    for share, width in ((0.5, 20.0), (0.9, 10.0), (0.75, 12.0)):
        got = videos_needed(share, width)
        wanted = next(count for count in range(1, 10_000) if _width(share, count) <= width)
        require(
            abs(got - wanted) <= 3,
            f"{share:.0%} right, at most {width:g} points wide: {wanted} videos, not {got}; "
            f"{got} give {_width(share, max(1, int(got))):.1f} points",
        )


def _width(share: float, count: int) -> float:
    low, high = interval(round(share * count), count)
    return high - low


@exercise(3)
def check_3(selective) -> None:
    """(share answered, accuracy of the answers in per cent) of probabilities [M, classes], labels [M], threshold."""
    generator = torch.Generator().manual_seed(0)
    for count, classes in ((40, 3), (25, 5)):
        probabilities = (2 * torch.randn(count, classes, generator=generator)).softmax(1)
        labels = torch.randint(classes, (count,), generator=generator)
        for threshold in (0.0, 0.5, 0.8):
            sure, predicted = probabilities.max(1)
            answered = sure >= threshold
            hits = (predicted == labels)[answered].float()
            wanted = torch.tensor([100 * answered.float().mean(), 100 * hits.mean()])
            name = f"threshold {threshold}: (share answered, accuracy)"
            require_close(list(selective(probabilities, labels, threshold)), wanted, name, tolerance=1e-3)
    nobody = list(selective(torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.long), 0.9))
    require(nobody[0] == 0 and nobody[1] is None, "if nothing is answered, the share is 0 and the accuracy None")
