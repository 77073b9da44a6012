"""The page docs/recipes.md: every preset with the value and the source of each field, and what was published of it."""

from tanet.recipes.presets import RECIPES
from tanet.recipes.provenance import other_style, source_table, style_table
from tanet.recipes.published import published_results

# How the names of recipes begin, and what these are for.
_KINDS = {
    "k400_": "Kinetics-400, published",
    "sthv1_": "Something-Something V1, published",
    "sthv2_": "Something-Something V2, published",
    "own_": "your own videos",
    "demo_": "the demo",
}
_INTRODUCTION = """\
# Recipes

<!-- made by tanet.recipes.recipes_page; CONTRIBUTING.md says how -->
A preset is a published training, one of the demo's (`demo_`), or one for your own videos (`own_8f`, `own_tiny`). Each
table has a row for every field. A source begins with the code base that the value comes from; "official" is the
authors' repository, and "official alike" says that it has the same value. "ours" is a choice of this project, with the
reason.

{contents}

## How a recipe changes

**Styles.** The two code bases train and test in different ways. A preset follows one of them, and `--style` gives it
as the other one runs it, as a whole: parameter groups, flips, tests, the batch where it differs, and through the field
`style` frames, resize, crops and averaging of the views. `--set` refuses to change it alone. In Python:
`recipes.get(name, style)`.

**Changes.** `--set FIELD=VALUE` and `Recipe.with_changes` change a field, and what must follow follows, unless it is
changed, too:

- With other `epochs` the rate falls at the same fractions of the training: `--set epochs=50` makes 25, 38 and 45 of the
  `lr_steps` 50, 75 and 90. Steps are whole epochs within the training, and a training of one epoch has none.
- A shorter training warms up for the same fraction, a longer one for as long as before.
- With another `sampling` the tests are those of that sampling.

A new training whose steps lie outside its epochs, or whose warm-up ends after the first step, is refused. A stored
recipe never changes: an older run goes on with its own steps and says so. The page of a test lists every change, and
compares with published figures only where the changed settings are theirs.

**Flips.** With `flip` "swap" a mirrored clip gets the label of the mirrored class: the one whose name has left and
right, or clockwise and counterclockwise, exchanged. `swipe_left`, `Swipe-Left`, `SwipeLeft` and "leftward" are
understood. A training says which classes have a direction and no partner, and, with "plain", which ones a flip
mislabels.

**Precision.** Both code bases train in float32, and so do the presets. `--set precision=bfloat16` asks for mixed
precision, `--set precision=auto` for the faster of the two on the device at hand.

What float32 means on a GPU is decided by torch: from version 1.7 on it computes float32 convolutions in TF32, with 10
bits of mantissa, on GPUs that have it (Ampere and newer), and from 1.7 to 1.11 matrix products, too. Trainings here
keep torch's default. Tests compute in full float32.

The authors trained on GTX 1080 Ti, which have no TF32 (issue 5 of their repository). MMAction2 does not say which GPUs
trained its TANets; the GPUs of its benchmark page, V100, have none either.

**Published.** A row under a preset gives accuracies in per cent, and the options of `tanet train` that give the
settings which trained the network. No row was measured here.
"""


def recipes_page() -> str:
    """The text of docs/recipes.md."""
    return "\n".join([_INTRODUCTION.replace("{contents}", _contents()), *map(_section, RECIPES)])


def _contents() -> str:
    """Links to the sections; the published recipes first, since those are what most readers look for."""
    lines = []
    for beginning, title in _KINDS.items():
        links = [f"[{name}](#{name})" for name in RECIPES if name.startswith(beginning)]
        lines.append(f"- {title}: {', '.join(links)}")
    return "\n".join(lines)


def _section(name: str) -> str:
    style = other_style(name)
    parts = [f"## {name}", RECIPES[name].__doc__.partition("\n")[0], source_table(name)]
    parts += [f"As the other code base runs it, `--style {style}`:", style_table(name)]
    if published_results(name):
        parts.append(_published_table(name))
    return "\n\n".join(parts) + "\n"


def _published_table(name: str) -> str:
    rows = [
        f"| {row.percent('top1')} | {row.percent('top5')} | {row.protocol} | {row.style} | [{row.source}]({row.url}) "
        f"| {row.settings} |"
        for row in published_results(name)
    ]
    header = [
        "| top-1 | top-5 | protocol | tested in style | published by | trained with |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*header, *rows])
