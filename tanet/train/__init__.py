"""Training: a recipe in, a run folder out.

loop        fit and launch: the training from its first step to its last
state       the state of a training: begun, restored, saved
optim       parameter groups and learning rate
graphs      the gradients of a step, as CUDA graphs
autotune    precision, memory format and compilation, by trial
run_folder  recipe.json, metrics.jsonl, checkpoints/
interrupts  signals and the clock: when a training saves and stops
monitor     speed, memory, NaN
trackers    TensorBoard, Weights & Biases, MLflow
messages    what a training says when it begins, and when it has to end
skips       unreadable videos, listed and counted
live        the view in JupyterLab
"""

from tanet.train import loop, state  # the modules too: benchmarks measure single steps
from tanet.train.loop import LOG_STEPS, fit, launch
from tanet.train.monitor import FiniteCheck, StepTimer
from tanet.train.optim import learning_rate, parameter_groups
from tanet.train.run_folder import read_metrics
from tanet.train.state import Options
from tanet.train.trackers import TRACKERS, TrackedRun, Tracker

__all__ = [
    "FiniteCheck",
    "LOG_STEPS",
    "Options",
    "TrackedRun",
    "StepTimer",
    "TRACKERS",
    "Tracker",
    "fit",
    "launch",
    "learning_rate",
    "loop",
    "parameter_groups",
    "read_metrics",
    "state",
]
