"""Recipes: everything that decides what a training run computes, as data.

`get("k400_8f")` returns one; `dataclasses.replace(recipe, epochs=10)` or `recipe.with_changes({"epochs": 10})` varies
it. A recipe is stored in the run's folder and in every checkpoint. Where a value comes from is said beside it:
[M] MMAction2's TANet configurations, [O] the authors' repository, [P] the paper; nothing beside it: this project.
"""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from typing import Literal

from tanet.recipes.protocols import PROTOCOLS

WINDOW = 64  # frames spanned by a dense clip: T frames, 64 // T apart
STYLES = ("mmaction2", "official")
Arch = Literal["tanet50", "tanet101", "tanet152", "tanet_tiny"]
Temporal = Literal["tam", "tsm", "none"]


@dataclass(frozen=True)
class Recipe:
    """One training recipe. Frozen; every field is checked for its type and range when it is made."""

    name: str
    # data
    dataset: Literal["kinetics", "something_v1", "something_v2"]
    num_classes: int
    # network
    arch: Arch = "tanet50"
    temporal: Temporal = "tam"
    num_frames: int = 8
    dropout: float = 0.5
    init: str = "imagenet"  # "imagenet", "none", or the path of a checkpoint to start from
    # frames and pixels
    sampling: Literal["dense", "uniform"] = "dense"
    style: str = "mmaction2"  # whose habits where the two code bases differ (sampling, resize, averaging)
    short_side: int = 256  # pixels; frames are resized to it before cropping
    crop_size: int = 224  # pixels, training and validation
    test_size: int = 256  # pixels, side of a test crop
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    flip: Literal["none", "plain", "swap"] = "plain"  # "swap" exchanges the labels of mirrored classes
    protocols: tuple[str, ...] = ("k400-dense",)  # the tests that belong to it, see tanet.recipes.protocols
    # optimisation
    epochs: int = 100
    lr: float = 0.01  # at a total batch of lr_batch clips; scaled linearly with the actual one
    lr_batch: int = 64
    lr_steps: tuple[int, ...] = (50, 75, 90)  # epochs after which the rate is divided by 10
    warmup_epochs: float = 0.0  # the rate rises linearly from 0 over this many epochs
    clips_per_process: int = 8  # batch of one GPU
    accumulation: int = 1  # batches of each process in one step of the optimiser
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_grad_norm: float = 20.0
    classifier_lr: float = 5.0  # multiplier of the rate for the classifier's weight; its bias gets twice that
    param_groups: str = "mmaction2"  # "official" also multiplies the rate of TAM's linear layers by 5
    ema: float = 0.0  # decay a step of an average of the weights that is tested instead of them; 0: none
    sync_batchnorm: bool = False  # BatchNorm over all GPUs' clips
    # running it
    seed: int = 0
    deterministic: bool = False  # the same run to the last bit; no trials, so "auto" below is float32, contiguous
    workers: int = (
        -1
    )  # data-loading processes of each training process; -1: from the machine, see distributed.worker_count
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # "auto" measures on the device and keeps the fastest
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile of the training step; "auto" measures it on GPUs
    checkpoint_activations: bool = False  # compute each bottleneck twice instead of keeping its activations

    def __post_init__(self):
        hints = typing.get_type_hints(Recipe)
        for field in dataclasses.fields(self):
            value = _checked(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)
        self._check_ranges()

    def _check_ranges(self):
        _check_one_of("style", self.style, STYLES)
        _check_one_of("param_groups", self.param_groups, STYLES)
        positive = ("num_classes", "num_frames", "short_side", "crop_size", "test_size", "epochs", "lr", "lr_batch")
        for name in (*positive, "clips_per_process", "accumulation", "clip_grad_norm", "classifier_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"recipe field {name} must be positive, got {getattr(self, name)}")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"recipe field {name} must be a finite number, got {value}")
        for name in ("weight_decay", "warmup_epochs", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"recipe field {name} must not be negative, got {getattr(self, name)}")
        if self.workers < -1:
            raise ValueError(f"recipe field workers must be at least -1, got {self.workers}")
        for name in ("dropout", "momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"recipe field {name} must be in [0, 1), got {getattr(self, name)}")
        if not self.crop_scales or not all(0 < scale <= 1 for scale in self.crop_scales):
            raise ValueError(f"recipe field crop_scales must be numbers in (0, 1], got {self.crop_scales}")
        if not self.protocols:
            raise ValueError("recipe field protocols must name at least one protocol")
        for protocol in self.protocols:
            _check_one_of("protocols", protocol, PROTOCOLS)
        if self.sampling == "dense" and WINDOW % self.num_frames:
            raise ValueError(f"recipe field num_frames must divide the {WINDOW}-frame window, got {self.num_frames}")
        if max(self.crop_size, self.test_size) > self.short_side:
            raise ValueError(
                f"recipe field short_side ({self.short_side}) must be at least crop_size ({self.crop_size}) and "
                f"test_size ({self.test_size})"
            )
        if list(self.lr_steps) != sorted(self.lr_steps):
            raise ValueError(f"recipe field lr_steps must ascend, got {self.lr_steps}")

    def with_changes(self, changes: dict) -> "Recipe":
        """A copy with these fields changed; an unknown name raises."""
        return from_dict(dataclasses.asdict(self) | _known(changes))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def from_dict(values: dict) -> Recipe:
    """A recipe from `dataclasses.asdict` or parsed JSON; unknown, missing or ill-typed fields raise ValueError."""
    missing = [f.name for f in dataclasses.fields(Recipe) if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise ValueError(f"recipe lacks the field(s) {', '.join(missing)}")
    return Recipe(**_known(values))


def from_json(text: str) -> Recipe:
    return from_dict(json.loads(text))


def _known(values: dict) -> dict:
    names = [field.name for field in dataclasses.fields(Recipe)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise ValueError(f"unknown recipe field(s) {', '.join(unknown)}; there are: {', '.join(names)}")
    return values


def _checked(name: str, value, hint):
    """`value` as the field's type: ints pass as floats and JSON's lists as tuples, nothing else is converted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        _check_one_of(name, value, arguments)
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"recipe field {name} must be a list of {arguments[0].__name__}, got {value!r}")
        return tuple(_checked(name, item, arguments[0]) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or isinstance(value, bool) and hint is not bool:
        raise ValueError(f"recipe field {name} must be {hint.__name__}, got {value!r} ({type(value).__name__})")
    return value


def _check_one_of(name: str, value, choices):
    if value not in tuple(choices):
        raise ValueError(f"recipe field {name} must be one of {', '.join(choices)}; got {value!r}")
