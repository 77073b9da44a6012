"""The state of a training in one process: how it begins, from a checkpoint or without, and how it is saved."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tanet import checkpoint
from tanet.checkpoint import Checkpoint
from tanet.data import SKIPPING, VideoList
from tanet.model import TANet, build, freeze_stages
from tanet.recipes import Recipe
from tanet.runtime import FORMATS, Process
from tanet.train import run_folder
from tanet.train.autotune import choose, choose_graphs
from tanet.train.graphs import StepGraphs
from tanet.train.optim import parameter_groups
from tanet.train.skips import Skips
from tanet.train.trackers import Tracker, check_trackers

# The sums over the clips of an epoch, and over the clips since the last line of metrics.jsonl.
SUMS = ("loss", "correct", "clips", "grad_norm", "steps")


@dataclass(frozen=True)
class Options:
    """Keyword arguments of `tanet.train.fit` and `launch`; checked when made."""

    train_list: str | None = None  # a list of videos, see tanet.data.lists; None: the publisher's annotations
    val_list: str | None = None
    missing: str = "raise"  # listed videos that do not exist: "raise" or "skip"
    on_error: str = "raise"  # videos that cannot be read: "raise" or "skip", see tanet.train.skips
    skip_limit: float = 0.01  # largest share of a list's videos that may be skipped in an epoch
    resume: str = "auto"  # a run that the folder holds already: "auto" resumes it, "never" is an error
    save_minutes: float = 10.0  # between checkpoints within an epoch
    trackers: tuple = ()  # who gets the metrics, too: names in tanet.train.TRACKERS, or classes like those
    quiet: bool = False  # print no progress bar and no lines of epochs; readers of metrics.jsonl use this

    def __post_init__(self):
        for name, accepted in (("missing", SKIPPING), ("on_error", SKIPPING), ("resume", ("auto", "never"))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be {accepted[0]} or {accepted[1]}, got {getattr(self, name)!r}")
        if not 0 <= self.skip_limit < 1:
            raise ValueError(f"skip_limit must be a share of at least 0 and under 1, got {self.skip_limit}")
        if self.save_minutes < 0:
            raise ValueError(f"save_minutes must not be negative, got {self.save_minutes}")
        check_trackers(self.trackers)


@dataclass
class Training:
    """A training in one process: the network and its optimiser, and the position in the run."""

    recipe: Recipe
    options: Options
    process: Process
    run_dir: Path
    model: TANet
    network: nn.Module  # the model that steps call: compiled, and distributed where steps are no graphs
    ema: AveragedModel | None  # average of the weights, if the recipe asks for one
    optimizer: torch.optim.Optimizer
    graphs: StepGraphs | None  # the steps as CUDA graphs; None without
    numerics: dict[str, str]  # precision, memory format, compilation and CUDA graphs, see tanet.train.autotune
    data: dict  # see run_folder.describe_lists
    class_names: tuple[str, ...]
    sums: torch.Tensor  # float64 [2, 5], this process's SUMS: over the epoch, and since the last line of metrics.jsonl
    skips: Skips
    epoch: int = 0  # current epoch, counted from 0
    clips: int = 0  # clips of this epoch that all processes together have done
    history: list[dict] = field(default_factory=list)  # one row for each finished epoch
    trackers: list[Tracker] = field(default_factory=list)  # of the main process

    @property
    def prints(self) -> bool:
        """Whether this process prints the progress."""
        return self.process.is_main and not self.options.quiet

    def record(self, row: dict) -> None:
        """Adds a row to metrics.jsonl, and hands it to the trackers; only the main process calls it."""
        run_folder.append_metrics(self.run_dir, row)
        for tracker in self.trackers:
            tracker.on_row(row)

    @property
    def tested(self) -> TANet:
        """The model that is validated and stored for testing: the averaged one, if there is one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def running_statistics(self) -> list[torch.Tensor]:
        """BatchNorm's running means and variances, each [C]."""
        names = ("running_mean", "running_var")
        return [buffer for name, buffer in self.model.named_buffers() if name.endswith(names)]

    def list_skips(self, split: str, videos: VideoList) -> int:
        """Lists newly skipped videos, see tanet.train.skips; returns the number of skipped videos in this epoch."""
        return self.skips.list_new(split, videos, self.epoch + 1, self.clips)

    def next_epoch(self) -> None:
        """Moves to the start of the next epoch."""
        self.epoch, self.clips = self.epoch + 1, 0
        self.sums.zero_()


def begin(
    recipe: Recipe,
    class_names: tuple[str, ...],
    data: dict,
    run_dir: Path,
    process: Process,
    stored: Checkpoint | None,
    options: Options = Options(),
) -> Training:
    """A training at its first step, or at the position of the checkpoint `stored`."""
    torch.manual_seed(recipe.seed)
    model = (build(recipe) if stored else _initial_model(recipe, class_names, process)).to(process.device)
    freeze_stages(model, recipe.frozen_stages)
    if recipe.sync_batchnorm and process.world_size > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True) if recipe.ema else None
    optimizer = torch.optim.SGD(parameter_groups(model, recipe), lr=recipe.lr, momentum=recipe.momentum)
    if stored is None:
        numerics = choose(model, recipe, process)
    else:
        numerics = {**stored.rest["numerics"], "cuda_graphs": choose_graphs(recipe, process)}  # they change no number
        _restore_weights(model, ema, optimizer, stored)
    if numerics["cuda_graphs"] == "on":
        process.share(parameter.detach() for parameter in model.parameters())  # else DistributedDataParallel does it
    model.to(memory_format=FORMATS[numerics["memory_format"]])
    # Old checkpoints have no "compile": their runs were not compiled.
    network = torch.compile(model) if numerics.get("compile") == "on" else model
    graphs = _graphs(model, recipe, process, numerics) if numerics["cuda_graphs"] == "on" else None
    training = Training(
        recipe=recipe,
        options=options,
        process=process,
        run_dir=run_dir,
        model=model,
        network=network if graphs else _distributed(network, process, recipe),
        ema=ema,
        optimizer=optimizer,
        graphs=graphs,
        numerics=numerics,
        data=data,
        class_names=class_names,
        sums=torch.zeros(2, len(SUMS), dtype=torch.float64, device=process.device),
        skips=Skips(process, run_dir, options.on_error, options.skip_limit),
    )
    if stored is not None:
        _restore_position(training, stored)
    return training


def save(training: Training, best: bool = False) -> None:
    """Writes a checkpoint. All processes call it; the main process writes. `best` writes best.pth, too."""
    sums = training.process.gather(training.sums.cpu())  # [2, 5] of every rank
    if not training.process.is_main:
        return
    state = {
        "model": training.tested.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "epoch": training.epoch,
        "clips": training.clips,
        "sums": sums,
        "history": training.history,
        "numerics": training.numerics,
        "recipe": training.recipe.to_json(),
        "class_names": list(training.class_names),
        "pixel_mean": [round(value, 4) for value in training.model.pixel_mean.flatten().tolist()],
        "data": training.data,
    }
    if training.ema is not None:
        state["trained"] = training.model.state_dict()
    run_folder.save(training.run_dir, state, best)


def _restore_weights(model: TANet, ema: AveragedModel | None, optimizer: torch.optim.Optimizer, stored: Checkpoint):
    checkpoint.load_weights(model, stored)
    if ema is not None:
        checkpoint.load_weights(ema.module, stored)
        ema.n_averaged.fill_(1)  # at 0 the next update would overwrite the average
        model.load_state_dict(stored.rest["trained"])
    optimizer.load_state_dict(stored.rest["optimizer"])


def _restore_position(training: Training, stored: Checkpoint) -> None:
    training.epoch, training.clips = stored.rest["epoch"], stored.rest["clips"]
    training.history = list(stored.rest["history"])
    training.sums.copy_(_restored_sums(stored.rest["sums"], training.process))
    if len(training.history) > training.epoch:  # the checkpoint was written at the end of its epoch
        training.next_epoch()


def _restored_sums(stored: list[torch.Tensor], process: Process) -> torch.Tensor:
    """This process's sums [2, 5]. If the number of processes has changed, the main process gets the sum of all."""
    if len(stored) == process.world_size:
        return stored[process.rank]
    return torch.stack(stored).sum(0) if process.is_main else torch.zeros_like(stored[0])


def check_device(recipe: Recipe, process: Process) -> None:
    """ValueError if the recipe has what the process's device cannot compute."""
    if recipe.sync_batchnorm and process.world_size > 1 and process.device.type == "cpu":
        raise ValueError("sync_batchnorm: torch computes it on GPUs only; set it to false, or train on GPUs")


def _initial_model(recipe: Recipe, class_names: tuple[str, ...], process: Process) -> TANet:
    if recipe.init == "none":
        return build(recipe)
    if recipe.init == "imagenet":
        return build(recipe, recipe.init)
    model, stored = build(recipe), checkpoint.read(recipe.init)
    # A classifier is of use only for the same classes. Published files do not name theirs.
    loaded = checkpoint.load_weights(model, stored, classifier=stored.class_names == class_names)
    if process.is_main:
        print(f"starting from {recipe.init}: {loaded}", flush=True)
    return model


def _graphs(model: TANet, recipe: Recipe, process: Process, numerics: dict[str, str]) -> StepGraphs:
    """The CUDA graphs of the steps; `numerics` says "off" if they fail."""

    def fails(reason: str) -> None:
        numerics["cuda_graphs"] = "off"
        rank = f"rank {process.rank}: " if process.world_size > 1 else ""
        print(f"{rank}CUDA graphs fail here, training goes without them: {reason}", flush=True)

    shape = recipe.clips_per_process, recipe.num_frames, 3, recipe.crop_size, recipe.crop_size
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return StepGraphs(parameters, shape, process.device, fails)


def _distributed(model: nn.Module, process: Process, recipe: Recipe) -> nn.Module:
    if process.world_size == 1:
        return model
    devices = [process.device.index] if process.device.type == "cuda" else None
    # With "first", rank 0 sends its BatchNorm statistics to the others before each step. Means need no sending.
    return DistributedDataParallel(model, devices, broadcast_buffers=recipe.batchnorm_statistics == "first")
