"""TANet: video recognition with the temporal adaptive module (TAM, ICCV 2021).

    from tanet import TAM, tanet50
    logits = tanet50(num_classes=400)(clips)  # uint8 [N, 8, 3, H, W] -> [N, 400]
"""

import warnings

from tanet.aggregate import aggregate
from tanet.checkpoint import load_model, load_weights
from tanet.model import TANet, tanet50, tanet101, tanet152, tanet_tiny
from tanet.tam import TAM

__all__ = [
    "TAM", "TANet", "aggregate", "load_model", "load_weights", "tanet50", "tanet101", "tanet152", "tanet_tiny"
]  # fmt: skip
# `python -m tanet.model` and the like import the package, and with it the module they then run.
warnings.filterwarnings("ignore", "'tanet[.].*' found in sys.modules", RuntimeWarning, "runpy")
__version__ = "0.1.0"
