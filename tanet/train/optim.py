"""The published optimiser settings: parameter groups and learning rate."""

from torch import nn

from tanet.model import TANet
from tanet.recipes import Recipe


def parameter_groups(model: TANet, recipe: Recipe) -> list[dict]:
    """SGD groups with the published multipliers of the rate (`lr_scale`) and of weight decay.

    - BatchNorm: no decay.
    - Biases: rate x2, no decay.
    - Classifier: weight x5 (`classifier_lr`), bias x10 and no decay.
    - With `param_groups="official"`, every other linear layer x5, those of TAM's global branch included.
    - All others: x1 with decay.
    """
    groups = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:  # frozen
                continue
            decays, lr_scale = True, 1.0
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                decays = False
            elif module is model.fc:
                decays = name != "bias"
                lr_scale = recipe.classifier_lr if decays else 2 * recipe.classifier_lr
            elif name == "bias":
                decays, lr_scale = False, 2.0
            elif isinstance(module, nn.Linear) and recipe.param_groups == "official":
                lr_scale = 5.0
            groups.setdefault((lr_scale, decays), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": lr_scale, "weight_decay": recipe.weight_decay if decays else 0.0}
        for (lr_scale, decays), parameters in groups.items()
    ]


def learning_rate(recipe: Recipe, progress: float, total_batch: int) -> float:
    """The rate after `progress` epochs.

    It scales linearly with the total batch, rises linearly over warmup_epochs, and falls to a tenth after each of
    lr_steps.
    """
    rate = recipe.lr * total_batch / recipe.lr_batch
    rate *= 0.1 ** sum(progress >= step for step in recipe.lr_steps)
    if recipe.warmup_epochs:
        rate *= min(1.0, progress / recipe.warmup_epochs)
    return rate
