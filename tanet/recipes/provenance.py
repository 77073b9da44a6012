"""Where the value of every field of every preset comes from, in both styles, as data.

`sources(name, style)` gives a text for each field and `source_table(name, style)` puts them beside the values. A text
begins with one of ORIGINS:

MMAction2 0.x, MMAction2 1.x  the TANet configurations of that version of MMAction2
official                      the authors' repository: its README, scripts and defaults
paper                         "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021
ours                          this project, with the reason

"Official alike" behind an MMAction2 source means that the authors' repository has the same value.
"""

import dataclasses

from tanet.recipes.presets import get
from tanet.recipes.recipe import STYLES

ORIGINS = ("MMAction2 0.x and 1.x", "MMAction2 0.x", "MMAction2 1.x", "official", "paper", "ours")
_BOTH = "MMAction2 0.x and 1.x"

_K400_8F = {
    "name": "ours: the preset's name in this package",
    "dataset": f"{_BOTH}: Kinetics-400; official alike",
    "num_classes": f"{_BOTH}: the classes of Kinetics-400; official alike",
    "arch": f"{_BOTH}: ResNet-50; official alike",
    "temporal": "paper, section 3: TAM in every bottleneck",
    "num_frames": f"{_BOTH}: 8 frames, dense 1x1x8; official alike",
    "dropout": f"{_BOTH}: 0.5; official alike",
    "init": f"{_BOTH}: torchvision's ResNet-50 trained on ImageNet; official alike",
    "sampling": f"{_BOTH}: DenseSampleFrames; official alike (--dense_sample)",
    "keep_tail": f"{_BOTH}: off; it concerns uniform sampling; official alike",
    "style": "ours: the field names the code base to follow; MMAction2 publishes the most rows for this network",
    "short_side": f"{_BOTH}: 256 before the training crop; official crops at native size",
    "crop_size": f"{_BOTH}: 224; official alike",
    "test_size": f"{_BOTH}: crops of 256; official alike",
    "crop_scales": f"{_BOTH}: MultiScaleCrop; official alike",
    "flip": f"{_BOTH}: horizontal flip, probability 0.5; official alike",
    "protocols": f"{_BOTH}: 10 clips x 3 crops; official alike",
    "epochs": f"{_BOTH}: 100; official alike",
    "lr": f"{_BOTH}: 0.01 on 8 GPUs; official alike",
    "lr_batch": f"{_BOTH}: 8 GPUs x 8 clips; official alike, by its author's answer in issue 5: 8 GPUs, at least 64 "
    "clips. The script's --batch-size 8 is one GPU's",
    "lr_steps": f"{_BOTH}: 50, 75, 90; official alike",
    "warmup_epochs": f"{_BOTH}: no warm-up; official alike",
    "clips_per_process": f"{_BOTH}: 8 clips a GPU; official alike",
    "accumulation": "ours: one batch a step, as in both code bases; the published batch fits on 8 GPUs",
    "momentum": f"{_BOTH}: 0.9; official alike",
    "weight_decay": f"{_BOTH}: 1e-4; official alike",
    "clip_grad_norm": f"{_BOTH}: 20; official alike",
    "classifier_lr": f"{_BOTH}: fc_lr5, x5 for the weight and x10 for the bias; official alike",
    "param_groups": f"{_BOTH}: no decay for BatchNorm and biases, rate x2 for biases",
    "ema": "ours: no averaged weights, because neither code base averages them",
    "sync_batchnorm": f"{_BOTH}: off; official alike",
    "batchnorm_statistics": "MMAction2 0.x: the first GPU's; official alike (DataParallel); 1.x averages over the GPUs",
    "seed": "ours: any number serves; 0 makes two runs of a preset the same",
    "deterministic": "ours: off, because deterministic kernels are slower",
    "workers": "ours: as many as the machine's cores allow; MMAction2 0.x has 2 a GPU, 1.x has 8",
    "precision": f"{_BOTH}: no mixed precision; official alike",
    "memory_format": "ours: the fastest that the device measures; it changes rounding only",
    "compile": "ours: on where the device measures a gain; it changes rounding only",
    "cuda_graphs": "ours: on GPUs, where Python would set the speed; it changes no number",
    "checkpoint_activations": "ours: off, because it saves memory at the price of time",
}

_TO_MMACTION2 = {"style": "ours: asked for (--style mmaction2)"}
_TO_OFFICIAL = {
    "style": "ours: asked for (--style official)",
    "short_side": "official: 256 for validation and tests; training crops come at native size",
    "param_groups": "official: as MMAction2, and rate x5 for every other Linear weight, those of TAM's global branch",
}

_K400_16F = {
    **_K400_8F,
    **_TO_OFFICIAL,
    "dataset": "official: Kinetics-400",
    "num_frames": "official: 16 frames of the 64-frame window, 4 apart",
    "style": "ours: the field names the code base to follow; only the authors publish a row for this network",
    "lr": "ours: the rate of the authors' 8-frame script; they publish none for 16 frames",
    "lr_batch": "ours: the batch of the authors' 8-frame script; they publish none for 16 frames",
    "clips_per_process": "ours: half of k400_8f, for memory; the rate follows the actual batch",
    "protocols": "official: 10 clips x 3 crops",
}
_K400_16F_MMACTION2 = {
    **_TO_MMACTION2,
    "short_side": _K400_8F["short_side"],
    "param_groups": _K400_8F["param_groups"],
}

_STHV1_8F = {
    **_K400_8F,
    "dataset": f"{_BOTH}: Something-Something V1; official alike",
    "num_classes": f"{_BOTH}: the classes of Something-Something V1; official alike",
    "num_frames": f"{_BOTH}: 8 frames, 1x1x8; official alike",
    "sampling": f"{_BOTH}: SampleFrames, one frame of each of T segments; official alike",
    "keep_tail": f"{_BOTH}: keep_tail_frames is off; official has no such option",
    "flip": f"{_BOTH}: flip with the labels of mirrored classes swapped; official does not flip V1",
    "protocols": f"{_BOTH}: efficient (1 clip x 1 crop) and accurate (2 x 3); official publishes 1 x 1",
    "dropout": f"{_BOTH}: 0.6; official alike",
    "epochs": f"{_BOTH}: 50; official alike",
    "lr": f"{_BOTH}: 0.01 on 8 GPUs; official alike",
    "lr_batch": f"{_BOTH}: 8 GPUs x 8 clips; official alike (--batch-size 64)",
    "clips_per_process": f"{_BOTH}: 8 clips a GPU; the official script expects 4 GPUs x 16",
    "lr_steps": f"{_BOTH}: 30, 40, 45; official alike",
    "weight_decay": f"{_BOTH}: 1e-3; official alike",
}
_V1_OFFICIAL = {
    **_TO_OFFICIAL,
    "flip": "official: V1 is not flipped",
    "protocols": "official: efficient (1 clip x 1 crop) alone",
}

_STHV1_16F = {
    **_STHV1_8F,
    "num_frames": f"{_BOTH}: 16 frames, 1x1x16",
    "lr": "MMAction2 1.x: 0.0075; 0.x has 0.005",
    "lr_batch": "MMAction2 1.x: 8 GPUs x 6 clips; 0.x has 8 x 4",
    "clips_per_process": "MMAction2 1.x: 6 clips a GPU; 0.x has 4",
    "batchnorm_statistics": "MMAction2 1.x: SyncBuffersHook averages over the GPUs; 0.x has the first GPU's",
}
_STHV1_16F_OFFICIAL = {
    **_V1_OFFICIAL,
    "lr": "ours: the rate of the authors' 8-frame script; they publish none for 16 frames",
    "lr_batch": "ours: the batch of the authors' 8-frame script; they publish none for 16 frames",
    "clips_per_process": "ours: half of sthv1_8f, for memory; the rate follows the actual batch",
    "batchnorm_statistics": "official: the first GPU's, because DataParallel drops those of the others",
}

_STHV2_8F = {
    **_STHV1_8F,
    **_TO_OFFICIAL,
    "dataset": "official: Something-Something V2",
    "num_classes": "official: the classes of Something-Something V2",
    "arch": "official: ResNet-50",
    "num_frames": "official: 8 frames",
    "dropout": "official: 0.5",
    "init": "official: torchvision's ResNet-50 trained on ImageNet",
    "sampling": "official: one frame of each of T segments",
    "keep_tail": "official: segments of n // T frames",
    "style": "ours: the field names the code base to follow; only the authors publish rows for V2",
    "crop_size": "official: 224",
    "test_size": "official: crops of 256",
    "crop_scales": "official: GroupMultiScaleCrop",
    "flip": "official: flip with the labels of mirrored classes swapped; only V1 is not flipped",
    "protocols": "official: accurate (2 clips x 3 crops)",
    "epochs": "official: 50",
    "lr": "official: 0.02",
    "lr_batch": "official: --batch-size 128",
    "lr_steps": "official: 30, 40, 45",
    "warmup_epochs": "official: no warm-up",
    "clips_per_process": "ours: 8 GPUs x 16 clips make the official 128; the script expects 4 GPUs x 32",
    "momentum": "official: 0.9",
    "weight_decay": "official: 5e-4",
    "clip_grad_norm": "official: --gd 20",
    "classifier_lr": "official: x5 for the weight and x10 for the bias",
    "sync_batchnorm": "official: off",
    "batchnorm_statistics": "official: the first GPU's, because DataParallel drops those of the others",
    "workers": "ours: as many as the machine's cores allow; the official V2 script has 2",
    "precision": "official: no mixed precision",
}
_V2_MMACTION2 = {
    **_TO_MMACTION2,
    "short_side": "ours: 256 before the training crop, as in MMAction2's TANet configurations, which leave V2 out",
    "param_groups": _K400_8F["param_groups"],
    "protocols": "ours: efficient and accurate, as MMAction2 tests V1",
}

_STHV2_16F = {
    **_STHV2_8F,
    "num_frames": "official: 16 frames",
    "lr": "ours: the rate of sthv2_8f; no 16-frame V2 script is published",
    "lr_batch": "ours: the batch of sthv2_8f; no 16-frame V2 script is published",
    "clips_per_process": "ours: half of sthv2_8f, for memory; the rate follows the actual batch",
}

_DEMO_SIZE = {"short_side": "ours: small frames, for speed"}
_DEMO_KINETICS = {
    **_K400_8F,
    **_DEMO_SIZE,
    "dataset": "ours: demo videos in the format of Kinetics-400",
    "num_classes": "ours: the demo videos show 8 classes",
    "arch": "ours: a network small enough for 2 CPU cores",
    "init": "ours: there are no ImageNet weights of tanet_tiny",
    "keep_tail": "ours: on, because the demo reproduces no published figure; it concerns uniform sampling",
    "dropout": "ours: none, because the network is small and the training short",
    "crop_size": "ours: small frames, for speed",
    "test_size": "ours: small frames, for speed; the same as crop_size",
    "crop_scales": "ours: the two largest published scales, because small frames lose too much in a smaller crop",
    "flip": "ours: mirrored demo classes differ, so their labels are swapped",
    "epochs": "ours: 6, enough for the 8 demo classes",
    "lr": "ours: 0.1, high because the weights start at random and the training is short",
    "lr_batch": "ours: one process x 8 clips",
    "lr_steps": "ours: before the last of the 6 epochs",
    "warmup_epochs": "ours: half an epoch, because the rate is high for random weights",
    "clips_per_process": "ours: 8 clips, which a CPU can hold",
    "classifier_lr": "ours: 0.1, because from random weights the classifier must not outrun its features",
    "workers": "ours: 1, because a CPU has few cores to spare",
    "precision": "ours: float32, so that the demo is the same on every CPU and nothing is tried out",
    "memory_format": "ours: channels_last, so that nothing is tried out",
    "compile": "ours: off, because compiling takes longer than the training",
}

_DEMO_SOMETHING = {
    **_DEMO_KINETICS,
    "dataset": "ours: demo videos in the format of Something-Something V1",
    "sampling": _STHV1_8F["sampling"],
    "protocols": _STHV1_8F["protocols"],
    "epochs": "ours: 8, enough for the 8 demo classes",
    "lr_steps": "ours: before the last of the 8 epochs",
    "classifier_lr": "ours: 0.05, for the reason that demo_kinetics gives",
}

_SOURCES = {
    "demo_kinetics": _DEMO_KINETICS,
    "demo_something": _DEMO_SOMETHING,
    "k400_8f": _K400_8F,
    "k400_16f": _K400_16F,
    "sthv1_8f": _STHV1_8F,
    "sthv1_16f": _STHV1_16F,
    "sthv2_8f": _STHV2_8F,
    "sthv2_16f": _STHV2_16F,
}
# Fields with another source in the style that is not the preset's own.
_OTHER_STYLE = {
    "demo_kinetics": {**_TO_OFFICIAL, **_DEMO_SIZE},
    "demo_something": {**_V1_OFFICIAL, **_DEMO_SIZE},
    "k400_8f": _TO_OFFICIAL,
    "k400_16f": _K400_16F_MMACTION2,
    "sthv1_8f": _V1_OFFICIAL,
    "sthv1_16f": _STHV1_16F_OFFICIAL,
    "sthv2_8f": _V2_MMACTION2,
    "sthv2_16f": _V2_MMACTION2,
}
# What a reader must know of a preset whose values have several sources.
_REMARKS = {
    "k400_16f": "Mixed: the authors publish this network without a script; the settings are those of their 8-frame "
    "script. MMAction2 has no 16-frame configuration for Kinetics.",
    "sthv1_16f": "Mixed: MMAction2 0.x and 1.x train this network with the same rate per clip, in other batches. The "
    "rate and batch here are 1.x's; its published rows name the changes that make them 0.x's. The authors publish it "
    "without a script; in their style the settings are those of their 8-frame script.",
    "sthv2_16f": "Mixed: the authors publish this network without a script; the settings are those of their 8-frame "
    "script.",
}


def other_style(name: str) -> str:
    """The style that is not the own one of the preset `name`."""
    (other,) = (style for style in STYLES if style != get(name).style)
    return other


def sources(name: str, style: str | None = None) -> dict[str, str]:
    """Field -> where its value comes from, for the preset `name` in its own style or in `style`.

    ValueError if there is no such preset or style.
    """
    recipe = get(name, style)
    changed = _OTHER_STYLE[name] if recipe.style == other_style(name) else {}
    return {**_SOURCES[name], **changed}


def source_table(name: str, style: str | None = None) -> str:
    """The preset's fields, values and sources as a Markdown table, below a remark if the preset mixes sources.

    In its own style or in `style`.
    """
    table = _table(name, style, list(sources(name, style)))
    return f"{_REMARKS[name]}\n\n{table}" if name in _REMARKS else table


def style_table(name: str) -> str:
    """The fields of the preset `name` that have another value or source in the other style, as a Markdown table."""
    return _table(name, other_style(name), [field for field in _SOURCES[name] if field in _OTHER_STYLE[name]])


def _table(name: str, style: str | None, fields: list[str]) -> str:
    values, texts = dataclasses.asdict(get(name, style)), sources(name, style)
    rows = [f"| `{field}` | `{values[field]}` | {texts[field]} |" for field in fields]
    return "\n".join(["| field | value | source |", "|---|---|---|", *rows])
