"""The published recipes and the demo's, each a function that returns a Recipe.

Where each value comes from stands in tanet.recipes.provenance: `recipes.source_table("k400_8f")` shows it.
"""

import dataclasses

from tanet.recipes.recipe import Recipe


def demo_kinetics() -> Recipe:
    """Demo Kinetics: dense sampling, frames of 48 x 48; trains on a 2-core CPU in under a minute."""
    return Recipe(
        name="demo_kinetics",
        dataset="kinetics",
        num_classes=8,
        arch="tanet_tiny",
        init="none",
        dropout=0.0,
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


def k400_8f() -> Recipe:
    """TANet-R50, 8 frames 8 apart: 76.28 top-1 published by MMAction2."""
    return Recipe(name="k400_8f", dataset="kinetics", num_classes=400)


def k400_16f() -> Recipe:
    """TANet-R50, 16 frames 4 apart: 76.9 top-1 published by the authors; trains here in MMAction2's style.

    Half the clips per process, for memory. The rate follows the actual batch.
    """
    return dataclasses.replace(k400_8f(), name="k400_16f", num_frames=16, clips_per_process=4)


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


def sthv1_16f() -> Recipe:
    """Something-Something V1, 16 frames: MMAction2 publishes 49.05 / 50.91 top-1, efficient / accurate.

    These two figures are MMAction2 0.x's, which trains with 0.005 at 32 clips; the rate and batch here are 1.x's.
    """
    return dataclasses.replace(
        sthv1_8f(),
        name="sthv1_16f",
        num_frames=16,
        lr=0.0075,
        lr_batch=48,
        clips_per_process=6,
        batchnorm_statistics="mean",
    )


def sthv2_8f() -> Recipe:
    """Something-Something V2, 8 frames: the authors publish 62.7 top-1, 3 crops x 2 clips."""
    return dataclasses.replace(
        sthv1_8f(),
        name="sthv2_8f",
        dataset="something_v2",
        style="official",
        param_groups="official",
        dropout=0.5,
        lr=0.02,
        lr_batch=128,
        clips_per_process=16,
        weight_decay=5e-4,
    )


def sthv2_16f() -> Recipe:
    """Something-Something V2, 16 frames: the authors publish 64.6 top-1, 3 crops x 2 clips.

    The rate of sthv2_8f, which follows the actual batch. Half the clips per process, for memory.
    """
    return dataclasses.replace(sthv2_8f(), name="sthv2_16f", num_frames=16, clips_per_process=8)


RECIPES = {
    "demo_kinetics": demo_kinetics,
    "demo_something": demo_something,
    "k400_8f": k400_8f,
    "k400_16f": k400_16f,
    "sthv1_8f": sthv1_8f,
    "sthv1_16f": sthv1_16f,
    "sthv2_8f": sthv2_8f,
    "sthv2_16f": sthv2_16f,
}


def in_style(recipe: Recipe, style: str) -> Recipe:
    """The recipe as that code base ("mmaction2" or "official") runs it.

    The style decides frames, resize, crops, averaging of the views and parameter groups. It also decides the flip on
    Something-Something V1, which the official code leaves out.
    """
    changes = {"style": style, "param_groups": style}
    if recipe.dataset == "something_v1":
        changes["flip"] = "none" if style == "official" else "swap"
    if style == "official":
        changes["batchnorm_statistics"] = "first"
    return recipe.with_changes(changes)


def get(name: str) -> Recipe:
    """The preset `name`. ValueError lists the known names if there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]()
