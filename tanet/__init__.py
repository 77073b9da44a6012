"""TANet: video recognition with the temporal adaptive module (TAM, ICCV 2021).

    from tanet import TAM, tanet50
    logits = tanet50(num_classes=400)(clips)  # uint8 [N, 8, 3, H, W] -> [N, 400]

The wings of the package, top floor first; each uses only what stands below it:

    cli         the command `tanet`
    exercises   checks of the answers to the notebooks' exercises
    demo        makes the demo videos, trains and tests the demo networks
    share       packs a run into a folder to share
    explore     one video played to one network in many ways
    prediction  the classes of one's own videos
    exporting   writes a network as a program that runs without this package
    train       trains a recipe into a run folder
    evaluate    tests a checkpoint by a published protocol
    checkpoint  reads and writes weights, ours and those of others
    prepare     from folders of videos to lists that train
    data        from lists of videos to batches of clips
    model       TAM and the network around it
    ops         the temporal aggregation and its kernels
    recipes     what a training computes, as data, and the published results
    runtime     processes, devices, files and progress
    visualize, notebook, errors
"""

from tanet import sampling
from tanet.checkpoint import layouts, load_model, load_weights
from tanet.exporting import export
from tanet.model import TAM, TANet, insert_tam, tanet50, tanet101, tanet152, tanet_tiny
from tanet.ops import aggregate
from tanet.prediction import Predictor, predict
from tanet.share import from_pretrained, push_to_hub

__all__ = [
    "Predictor",
    "TAM",
    "TANet",
    "aggregate",
    "export",
    "insert_tam",
    "from_pretrained",
    "layouts",
    "load_model",
    "load_weights",
    "predict",
    "push_to_hub",
    "sampling",
    "tanet50",
    "tanet101",
    "tanet152",
    "tanet_tiny",
]
__version__ = "0.1.0"
