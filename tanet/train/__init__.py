"""Training: a recipe in, a run folder out.

loop        fit and launch: the training from its first step to its last
state       the state of a training, made anew or from a checkpoint
optim       parameter groups and learning rate
autotune    precision, memory format and compilation, by trial
run_folder  recipe.json, metrics.jsonl, checkpoints/
interrupts  signals and the clock: when a training saves and stops
monitor     speed, memory, NaN, TensorBoard
skips       unreadable videos, listed and counted
live        the view in JupyterLab
"""

from tanet.train.loop import LOG_STEPS, fit, launch
from tanet.train.monitor import FiniteCheck, StepTimer
from tanet.train.optim import learning_rate, parameter_groups
from tanet.train.run_folder import read_metrics
from tanet.train.state import Options

__all__ = [
    "StepTimer",
    "LOG_STEPS",
    "Options",
    "FiniteCheck",
    "fit",
    "launch",
    "learning_rate",
    "parameter_groups",
    "read_metrics",
]
