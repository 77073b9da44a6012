"""The published recipes and the demo's, each a function that returns a Recipe.

Each follows one of two code bases, its style. `get(name, style)` gives any preset in either style. Where each value
comes from stands in tanet.recipes.provenance: `recipes.source_table("k400_8f")` shows it, docs/recipes.md all of them.
"""

import dataclasses

from tanet.recipes.recipe import STYLES, Recipe


def demo_kinetics() -> Recipe:
    """Demo Kinetics: dense sampling, frames of 48 x 48; trains on a 2-core CPU in under a minute."""
    return Recipe(
        name="demo_kinetics",
        dataset="kinetics",
        num_classes=8,
        arch="tanet_tiny",
        init="none",
        dropout=0.0,
        keep_tail=True,
        short_side=56,
        crop_size=48,
        test_size=48,
        crop_scales=(1.0, 0.875),
        flip="swap",
        epochs=6,
        lr=0.1,
        lr_batch=8,
        lr_steps=(5,),
        warmup_epochs=0.5,
        clips_per_process=8,
        classifier_lr=0.1,  # from random weights the classifier must not outrun its features
        workers=1,
        precision="float32",
        memory_format="channels_last",
        compile="off",  # takes longer than the training
    )


def demo_something() -> Recipe:
    """Demo Something: uniform sampling, otherwise as demo_kinetics; trains on a 2-core CPU in under a minute."""
    return dataclasses.replace(
        demo_kinetics(),
        name="demo_something",
        dataset="something_v1",
        sampling="uniform",
        epochs=8,
        lr_steps=(7,),
        classifier_lr=0.05,
        protocols=("sth-efficient", "sth-accurate"),
    )


def demo_late() -> Recipe:
    """Demo Late: 12 frames of 32 x 32, whose two ends decide together; trains on a 2-core CPU in under two minutes."""
    return dataclasses.replace(
        demo_something(),
        name="demo_late",
        num_classes=4,
        num_frames=12,
        short_side=40,
        crop_size=32,
        test_size=32,
        epochs=10,
        lr_steps=(8,),
    )


def demo_near() -> Recipe:
    """Demo Near: as demo_late, on clips in which what decides stands beside the movement."""
    return dataclasses.replace(demo_late(), name="demo_near")


def own_8f() -> Recipe:
    """Videos of one's own: TANet-R50 from ImageNet or a published checkpoint, 8 frames, for a GPU."""
    return Recipe(
        name="own_8f",
        dataset="folder",
        num_classes=0,
        sampling="uniform",
        keep_tail=True,
        flip="swap",
        protocols=("sth-efficient", "sth-accurate"),
        epochs=50,
        lr_steps=(30, 40, 45),
        weight_decay=5e-4,
        precision="auto",
    )


def own_tiny() -> Recipe:
    """Videos of one's own: a small network from random weights, frames of 112 x 112, for a CPU."""
    return dataclasses.replace(
        demo_something(),
        name="own_tiny",
        dataset="folder",
        num_classes=0,
        short_side=128,
        crop_size=112,
        test_size=112,
        epochs=30,
        lr_steps=(24, 28),
        warmup_epochs=2.0,
        workers=-1,
    )


def k400_8f() -> Recipe:
    """TANet-R50, 8 frames 8 apart: 76.28 top-1 published by MMAction2."""
    return Recipe(name="k400_8f", dataset="kinetics", num_classes=400)


def k400_16f() -> Recipe:
    """TANet-R50, 16 frames 4 apart: 76.9 top-1 published by the authors, so in their style.

    They publish no script for 16 frames; the settings are those of their 8-frame script. Half the clips per process,
    for memory. The rate follows the actual batch.
    """
    recipe = dataclasses.replace(k400_8f(), name="k400_16f", num_frames=16, clips_per_process=4)
    return in_style(recipe, "official")


def sthv1_8f() -> Recipe:
    """Something-Something V1, 8 frames: MMAction2 publishes 47.34 / 49.58 top-1, efficient / accurate."""
    return Recipe(
        name="sthv1_8f",
        dataset="something_v1",
        num_classes=174,
        sampling="uniform",
        flip="swap",
        protocols=("sth-efficient", "sth-accurate"),
        dropout=0.6,
        epochs=50,
        lr_steps=(30, 40, 45),
        weight_decay=1e-3,
    )


_V1_16F_BATCH = {
    # of MMAction2 1.x
    "mmaction2": {"lr": 0.0075, "lr_batch": 48, "clips_per_process": 6, "batchnorm_statistics": "mean"},
    # of the authors' 8-frame script
    "official": {"lr": 0.01, "lr_batch": 64, "clips_per_process": 4, "batchnorm_statistics": "first"},
}


def sthv1_16f() -> Recipe:
    """Something-Something V1, 16 frames: MMAction2 1.x publishes 48.24 / 50.95 top-1, efficient / accurate.

    MMAction2 0.x publishes 49.05 / 50.91. Its settings are changes of these, which its rows of the published results
    name: `settings_of(row)` is the whole recipe.
    """
    return dataclasses.replace(sthv1_8f(), name="sthv1_16f", num_frames=16, **_V1_16F_BATCH["mmaction2"])


def sthv2_8f() -> Recipe:
    """Something-Something V2, 8 frames: the authors publish 62.7 top-1, 3 crops x 2 clips."""
    recipe = dataclasses.replace(
        sthv1_8f(),
        name="sthv2_8f",
        dataset="something_v2",
        dropout=0.5,
        lr=0.02,
        lr_batch=128,
        clips_per_process=16,
        weight_decay=5e-4,
    )
    return in_style(recipe, "official")


def sthv2_16f() -> Recipe:
    """Something-Something V2, 16 frames: the authors publish 64.6 top-1, 3 crops x 2 clips.

    The rate of sthv2_8f, which follows the actual batch. Half the clips per process, for memory.
    """
    return dataclasses.replace(sthv2_8f(), name="sthv2_16f", num_frames=16, clips_per_process=8)


RECIPES = {
    "demo_kinetics": demo_kinetics,
    "demo_something": demo_something,
    "demo_late": demo_late,
    "demo_near": demo_near,
    "own_8f": own_8f,
    "own_tiny": own_tiny,
    "k400_8f": k400_8f,
    "k400_16f": k400_16f,
    "sthv1_8f": sthv1_8f,
    "sthv1_16f": sthv1_16f,
    "sthv2_8f": sthv2_8f,
    "sthv2_16f": sthv2_16f,
}


def in_style(recipe: Recipe, style: str) -> Recipe:
    """The recipe as that code base ("mmaction2" or "official") runs it, with everything that the style decides.

    The field `style` decides frames, resize, crops and the averaging of views; `_decided` gives the others. A field
    that differs from its value in the old style was changed on purpose and stays. ValueError if there is no such style.
    """
    if style not in STYLES:
        raise ValueError(f"no style {style!r}; there are: {', '.join(STYLES)}")
    old, new = _decided(recipe, recipe.style), _decided(recipe, style)
    changes = {field: value for field, value in new.items() if getattr(recipe, field) == old[field]}
    return dataclasses.replace(recipe, style=style, **changes)


def _decided(recipe: Recipe, style: str) -> dict:
    """The fields that a style decides for the recipe's data set, beside `style` itself.

    Where both code bases publish a rate, a batch or a schedule for the same network and data, they are the same.
    """
    official = style == "official"
    fields = {"param_groups": style}
    if recipe.dataset == "something_v1":
        fields["flip"] = "none" if official else "swap"
        fields["protocols"] = ("sth-efficient",) if official else ("sth-efficient", "sth-accurate")
        if recipe.num_frames == 16:
            fields |= _V1_16F_BATCH[style]
    elif recipe.dataset == "something_v2":
        fields["protocols"] = ("sth-accurate",) if official else ("sth-efficient", "sth-accurate")
    return fields


def get(name: str, style: str | None = None) -> Recipe:
    """The preset `name`, in its own style or in `style`. ValueError lists the known names if there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    return in_style(recipe, style) if style else recipe


def differences(one: Recipe, other: Recipe) -> dict[str, tuple]:
    """Field -> (value of `one`, value of `other`), for the fields in which two recipes differ."""
    pairs = {field.name: (getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)}
    return {name: (first, second) for name, (first, second) in pairs.items() if first != second}


def changes_of(recipe: Recipe) -> dict:
    """Field -> value, for the fields that differ from the preset of the recipe's name in its style; {} without one."""
    if recipe.name not in RECIPES:
        return {}
    return {name: value for name, (_, value) in differences(get(recipe.name, recipe.style), recipe).items()}
