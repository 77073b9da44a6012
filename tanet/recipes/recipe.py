"""Recipe: every setting that decides what a training computes, as data with checks.

`recipes.get("k400_8f")` returns one. `recipe.with_changes({"epochs": 10})` makes a changed copy, in which the steps of
the learning rate follow; `dataclasses.replace` changes the named fields alone. `recipes.get("k400_8f", "official")`
gives it in another style. A recipe is stored in the run's folder and in every checkpoint, and read as it was stored.
The limits of a field stand beside it; `recipes.source_table(name)` says where the values of a preset come from.
"""

import dataclasses
import functools
import json
import typing
from typing import Annotated, Literal

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tanet.recipes.protocols import PROTOCOLS, ProtocolName

WINDOW = 64  # frames spanned by a dense clip: T frames, 64 // T apart

Arch = Literal["tanet50", "tanet101", "tanet152", "tanet_tiny"]
Temporal = Literal["tam", "tam_local", "tam_global", "conv", "tsm", "none"]
Style = Literal["mmaction2", "official"]
STYLES = typing.get_args(Style)
BelowOne = Annotated[float, Field(ge=0, lt=1)]
CropScale = Annotated[float, Field(gt=0, le=1)]
SPEED_FIELDS = ("workers", "cuda_graphs")  # they change the speed and no number
# JSON has lists only, so a list passes as a tuple. No other type is converted, but for ints that pass as floats.
_FROM_LIST = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


def _with_plain_errors(recipe_class: type) -> type:
    """The same class, which reports what pydantic finds as a ValueError with one plain line for each problem."""
    pydantic_init = recipe_class.__init__

    @functools.wraps(pydantic_init)
    def __init__(self, **values):
        try:
            pydantic_init(self, **values)
        except pydantic.ValidationError as error:
            raise ValueError(_explain(error)) from None

    recipe_class.__init__ = __init__
    return recipe_class


@_with_plain_errors
@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Recipe:
    """One training recipe. Frozen. Every construction checks all fields; ValueError names the fields that are wrong."""

    name: str
    # data
    dataset: Literal["kinetics", "something_v1", "something_v2", "folder"]  # "folder": videos of one's own
    num_classes: NonNegativeInt  # 0, with dataset "folder": as many as the data have, filled in when a training begins
    # network
    arch: Arch = "tanet50"
    temporal: Temporal = "tam"  # TAM, one of its branches alone, a fixed convolution, TSM's shift, or TSN
    temporal_stages: Annotated[tuple[Annotated[int, Field(ge=1, le=4)], ...], _FROM_LIST] = (1, 2, 3, 4)  # with modules
    temporal_position: Literal["conv1", "conv2", "conv3"] = "conv2"  # a module stands in front of this convolution
    kernel_size: PositiveInt = 3  # K, taps of the aggregation kernel
    alpha: PositiveInt = 2  # widens the global branch
    beta: PositiveInt = 4  # narrows the local branch
    num_frames: PositiveInt = 8
    dropout: BelowOne = 0.5
    init: str = "imagenet"  # "imagenet", "none", or the path of a checkpoint to start from
    # frames and pixels
    sampling: Literal["dense", "uniform"] = "dense"
    keep_tail: bool = False  # uniform training draws from all frames; published code never draws the last n mod T
    style: Style = "mmaction2"  # the code base to follow in sampling, resize, crops, averaging; see recipes.in_style
    short_side: PositiveInt = 256  # pixels; frames are resized to it before cropping
    crop_size: PositiveInt = 224  # pixels, training and validation
    test_size: PositiveInt = 256  # pixels, side of a test crop
    crop_scales: Annotated[tuple[CropScale, ...], Field(min_length=1), _FROM_LIST] = (1.0, 0.875, 0.75, 0.66)
    flip: Literal["none", "plain", "swap"] = "plain"  # "swap" exchanges the labels of mirrored classes
    protocols: Annotated[tuple[ProtocolName, ...], Field(min_length=1), _FROM_LIST] = ("k400-dense",)  # its tests
    # optimisation
    epochs: PositiveInt = 100
    lr: PositiveFloat = 0.01  # at a total batch of lr_batch clips; scaled linearly with the actual one
    lr_batch: PositiveInt = 64
    lr_steps: Annotated[tuple[int, ...], _FROM_LIST] = (50, 75, 90)  # epochs after which the rate is divided by 10
    warmup_epochs: NonNegativeFloat = 0.0  # the rate rises linearly from 0 over this many epochs
    clips_per_process: PositiveInt = 8  # batch of one GPU
    accumulation: PositiveInt = 1  # batches of each process in one step of the optimiser
    balanced: bool = False  # an epoch draws all classes equally often; rare ones several times
    label_smoothing: BelowOne = 0.0  # share of the target that all classes get alike
    momentum: BelowOne = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    clip_grad_norm: PositiveFloat = 20.0
    classifier_lr: PositiveFloat = 5.0  # multiplier of the rate for the classifier's weight; its bias gets twice that
    param_groups: Style = "mmaction2"  # "official" also multiplies the rate of TAM's linear layers by 5
    # stages that keep their initial weights and BatchNorm statistics: -1 none, 0 the stem, 1 to 4 also these stages
    frozen_stages: Annotated[int, Field(ge=-1, le=4)] = -1
    ema: BelowOne = 0.0  # decay per step of the averaged weights, which are tested instead; 0: no average
    sync_batchnorm: bool = False  # BatchNorm over all GPUs' clips
    batchnorm_statistics: Literal["first", "mean"] = "first"  # running ones: the first process's, or the mean over all
    # running it
    seed: NonNegativeInt = 0
    deterministic: bool = False  # the same run to the last bit; no trials, so "auto" below is float32, contiguous
    # data-loading workers of each training process; -1: from the machine, see tanet.runtime.worker_count
    workers: Annotated[int, Field(ge=-1)] = -1
    # "float32": as published; "bfloat16": mixed precision; "auto" measures both on the device and keeps the faster
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"  # "auto" likewise
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile of the training step; "auto" measures it on GPUs
    # the training step as CUDA graphs: the same numbers in less time; "auto" and "on": on GPUs, where they work
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    checkpoint_activations: bool = False  # compute each bottleneck twice instead of keeping its activations

    def __post_init__(self):
        """Checks that fields agree with each other; each alone is valid by now."""
        if self.num_classes == 0 and self.dataset != "folder":
            raise ValueError("recipe field num_classes must be greater than 0, got 0")
        if self.sampling == "dense" and WINDOW % self.num_frames:
            raise ValueError(f"recipe field num_frames must divide the {WINDOW}-frame window, got {self.num_frames}")
        if max(self.crop_size, self.test_size) > self.short_side:
            raise ValueError(
                f"recipe field short_side must be at least crop_size ({self.crop_size}) and test_size "
                f"({self.test_size}), got {self.short_side}"
            )
        if list(self.lr_steps) != sorted(self.lr_steps):
            raise ValueError(f"recipe field lr_steps must ascend, got {self.lr_steps}")

    def with_changes(self, changes: dict) -> "Recipe":
        """A copy with these fields changed. ValueError if a field is unknown or its value is not allowed.

        Fields that `changes` does not name follow: `protocols` a change of `sampling`; `lr_steps`, and with them
        `warmup_epochs`, a change of `epochs`. ValueError, too, for another `style`, which would be half a change:
        `recipes.in_style` changes it as a whole.
        """
        style = changes.get("style", self.style)
        if style != self.style and style in STYLES:
            raise ValueError(
                f"style={style} alone would leave flips, tests and parameter groups in style {self.style}; change the "
                f"style as a whole: --style {style} on a command line, -p style {style} of a notebook, in Python "
                f"recipes.in_style(recipe, {style!r})"
            )
        changed = from_dict({**dataclasses.asdict(self), **changes})
        return dataclasses.replace(changed, **_following(self, changed, changes))

    def check_schedule(self) -> None:
        """ValueError if the rate would never fall at one of `lr_steps`, or would fall while it still rises.

        It is for trainings that begin. A recipe that was stored earlier may fail it, and is read and resumed as it is.
        """
        outside = [step for step in self.lr_steps if not 0 < step < self.epochs]
        if outside:
            raise ValueError(
                f"recipe field lr_steps: {outside[0]} does not lie within a training of {self.epochs} epochs, so the "
                f"rate would not fall there; give epochs from 1 to {self.epochs - 1}, or give epochs alone (--set "
                "epochs=..., with_changes): the steps follow at the same fractions"
            )
        end = self.lr_steps[0] if self.lr_steps else self.epochs
        if self.warmup_epochs > end:
            raise ValueError(
                f"recipe field warmup_epochs: the rate would still rise, over {self.warmup_epochs:g} epochs, when it "
                f"has to fall or the training ends, after {end}; warm up for at most {end} epochs"
            )

    def to_json(self) -> str:
        """All fields as an indented JSON object; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def _following(before: Recipe, after: Recipe, changes: dict) -> dict:
    """Field -> value, for the fields that follow `changes`, which made `after` of `before`, and are not among them."""
    fields = {}
    if after.sampling != before.sampling:
        fields["protocols"] = tuple(name for name, test in PROTOCOLS.items() if test.sampling == after.sampling)
    if after.epochs != before.epochs and "lr_steps" not in changes:
        share = after.epochs / before.epochs
        # The nearest whole epochs within the training; steps that fall together become one.
        steps = {min(max(round(step * share), 1), after.epochs - 1) for step in before.lr_steps}
        fields["lr_steps"] = tuple(sorted(steps - {0}))
        fields["warmup_epochs"] = before.warmup_epochs * min(share, 1.0)  # longer trainings need no longer warm-up
    return {name: value for name, value in fields.items() if name not in changes}


def from_dict(values: dict) -> Recipe:
    """A recipe from `dataclasses.asdict` or parsed JSON. ValueError names fields that are unknown, missing or wrong."""
    return Recipe(**values)


def from_json(text: str) -> Recipe:
    """A recipe from the text that `to_json` writes. Raises ValueError as `from_dict`."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"a recipe must be a JSON object, got {type(values).__name__}")
    return from_dict(values)


# pydantic's wording is plain enough for most problems; these are shorter here.
_WANTED = {
    "bool_type": "be bool",
    "float_type": "be float",
    "int_type": "be int",
    "string_type": "be str",
    "too_short": "have at least one value",
    "tuple_type": "be a list",
}


def _explain(error: pydantic.ValidationError) -> str:
    """One plain line for the unknown fields, one for the missing ones, and one for each field with a wrong value."""
    unknown, missing, wrong = [], [], {}
    for problem in error.errors():
        if problem["type"] == "value_error":  # from __post_init__, in plain words already
            return str(problem["ctx"]["error"])
        field_name, *item = problem["loc"]
        if problem["type"] == "unexpected_keyword_argument":
            unknown.append(field_name)
        elif problem["type"] == "missing":
            missing.append(field_name)
        elif field_name not in wrong:  # the first problem of a field explains the others
            wanted = _WANTED.get(problem["type"], problem["msg"].removeprefix("Input should "))
            position = f"[{item[0]}]" if item else ""
            wrong[field_name] = f"recipe field {field_name}{position} must {wanted}, got {problem['input']!r}"
    lines = []
    if unknown:
        names = ", ".join(field.name for field in dataclasses.fields(Recipe))
        lines.append(f"unknown recipe field(s) {', '.join(sorted(unknown))}; there are: {names}")
    if missing:
        lines.append(f"recipe lacks the field(s) {', '.join(missing)}")
    return "\n".join([*lines, *wrong.values()])
