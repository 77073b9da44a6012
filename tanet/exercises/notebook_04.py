"""Notebook 4, training on Kinetics-400."""

import torch
from torch import nn

from tanet.exercises.checking import exercise, require, require_close
from tanet.recipes import get
from tanet.train import learning_rate


@exercise(1)
def check_1(rate) -> None:
    """The learning rate from (lr, progress, lr_steps, warmup_epochs); the batch is the one that `lr` is for."""
    for epochs, steps, warmup in ((10, [5, 8], 0.0), (6, [5], 0.5), (8, [], 2.0), (12, [4, 5], 6.0)):
        recipe = get("demo_kinetics").with_changes({"epochs": epochs, "lr_steps": steps, "warmup_epochs": warmup})
        for part in range(4 * epochs):
            progress = part / 4
            wanted = learning_rate(recipe, progress, recipe.lr_batch)
            name = f"the rate after {progress} epochs, steps {steps}, warm-up {warmup},"
            require_close(rate(recipe.lr, progress, steps, warmup), wanted, name, tolerance=1e-7)


@exercise(2)
def check_2(accumulated) -> None:
    """Gradients [weights] of the mean loss over all clips, from batches that are computed one after another."""
    generator = torch.Generator().manual_seed(0)
    for sizes in ((4, 4), (8,), (3, 5), (1, 2, 5)):
        network = nn.Linear(6, 4).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        clips = torch.randn(sum(sizes), 6, generator=generator, dtype=torch.double)
        labels = torch.randint(4, (sum(sizes),), generator=generator)
        wanted = torch.autograd.grad(nn.functional.cross_entropy(network(clips), labels), list(network.parameters()))
        got = accumulated(network, list(zip(clips.split(sizes), labels.split(sizes))))
        require(len(list(got)) == 2, "a gradient for each parameter: of the weight and of the bias")
        for gradient, whole, name in zip(got, wanted, ("weight", "bias")):
            require_close(gradient, whole, f"batches of {sizes}: the gradient of the {name}", tolerance=1e-9)


@exercise(3)
def check_3(running_mean) -> None:
    """BatchNorm's running mean after batches of these means [steps], from 0 and with this momentum."""
    generator = torch.Generator().manual_seed(1)
    for steps, momentum in ((1, 0.1), (5, 0.1), (40, 0.1), (10, 0.5)):
        means = torch.randn(steps, generator=generator)
        norm = nn.BatchNorm1d(1, momentum=momentum)
        for mean in means:
            norm(torch.stack([mean - 1, mean + 1])[:, None])
        name = f"the running mean after {steps} steps with momentum {momentum}"
        require_close(running_mean(means, momentum), norm.running_mean[0], name)
