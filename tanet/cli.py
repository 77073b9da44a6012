"""The command `tanet`: train, evaluate, predict, export, summary, checkpoint.

    tanet train --recipe k400_8f --data-root DATA --run-dir RUN --gpus 8
    tanet evaluate RUN/checkpoints/last.pth --data-root DATA
    tanet predict clip.mp4 --weights RUN/checkpoints/last.pth
    tanet export --to onnx RUN/checkpoints/last.pth network.onnx
    tanet summary
    tanet checkpoint inspect|convert|pack|push ...
    tanet data lists|verify|resize ROOT

Each command checks its words, calls one function of the package, and prints what that returns. An error that a user can
cause is one line on stderr and exit code 1.
"""

import argparse
import dataclasses
import json
import os

from torch.distributed.elastic.multiprocessing.errors import record

from tanet import checkpoint, evaluate, exporting, prediction, prepare, recipes, share, train
from tanet.data import SKIPPING, class_names_at, datasets_at
from tanet.errors import USER_ERRORS, Stopped
from tanet.model import summary_table


def main(arguments: list[str] | None = None) -> None:
    """Runs the command in `arguments`, by default those of the shell."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except Stopped as stopped:
        parser.exit(128 + stopped.signal, f"{stopped}\n")
    except USER_ERRORS as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        resumes = getattr(chosen, "out", None) is not None  # a test with --out keeps the scores it has
        parser.exit(130, "interrupted; the same command resumes\n" if resumes else "interrupted\n")


def parse_changes(items: list[str]) -> dict:
    """["lr=0.1", "lr_steps=[3]", "temporal=tsm"] -> {field: value}, as `Recipe.with_changes` takes it."""
    changes = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator:
            raise ValueError(f"{item}: expected FIELD=VALUE")
        try:
            changes[name] = json.loads(value)
        except json.JSONDecodeError:
            changes[name] = value  # a plain word is a string
    return changes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tanet", description="TANet: train, test and look into its networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_summary(commands)
    _add_checkpoint(commands)
    prepare.add_data_command(commands)
    return parser


def _add_command(commands, name: str, run, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _add_data(command: argparse.ArgumentParser) -> None:
    """Options that `train` and `evaluate` share."""
    command.add_argument("--data-root", required=True, help="folder of the data set")
    command.add_argument("--gpus", type=int, default=0, help="GPUs of this machine; default: 0, the CPU")
    command.add_argument("--processes", type=int, default=1, help="CPU processes, with --gpus 0")
    command.add_argument("--val-list", help="a list of videos; default: the publisher's annotations")
    command.add_argument("--missing", choices=SKIPPING, default="raise", help="listed videos that are not there")
    command.add_argument("--on-error", choices=SKIPPING, default="raise", help="videos that cannot be read")
    style = "the code base to follow, in everything; default: the recipe's, or the checkpoint's"
    command.add_argument("--style", choices=recipes.STYLES, help=style)
    _add_set(command)


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="change a recipe field")


def _add_ema(command: argparse.ArgumentParser) -> None:
    text = "take a file's second set of weights, which a moving average (EMA) left there"
    command.add_argument("--ema", action="store_true", help=text)


def _add_train(commands) -> None:
    command = _add_command(commands, "train", _train, "Train a recipe; resumes what is in the run folder.")
    _add_data(command)
    command.add_argument("--recipe", required=True, help=f"one of {', '.join(recipes.RECIPES)}")
    command.add_argument("--run-dir", required=True, help="folder of the run")
    command.add_argument("--train-list", help="a list of videos, in MMAction2's or the official format")
    command.add_argument("--skip-limit", type=float, help="share of videos that may be skipped; default: 0.01")
    command.add_argument("--resume", choices=("auto", "never"), help="a run that is there already; default: auto")
    command.add_argument("--save-minutes", type=float, help="between checkpoints within an epoch; default: 10")
    trackers = "who gets the metrics, too; may be given several times"
    command.add_argument(
        "--track", dest="trackers", action="append", choices=tuple(train.TRACKERS), default=[], help=trackers
    )
    command.add_argument("--seed", type=int, help="the recipe's field, as --set seed=...")
    command.add_argument("--deterministic", action="store_true", help="bit-identical results on every run")


def _train(chosen: argparse.Namespace) -> None:
    names = {field.name for field in dataclasses.fields(train.Options)}
    options = {name: value for name, value in vars(chosen).items() if name in names and value is not None}
    changes = parse_changes(chosen.set)
    if chosen.seed is not None:
        changes["seed"] = chosen.seed
    if chosen.deterministic:
        changes["deterministic"] = True
    recipe = recipes.get(chosen.recipe, chosen.style).with_changes(changes)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has started the processes
        record(train.fit)(recipe, chosen.data_root, chosen.run_dir, chosen.gpus > 0, **options)
    else:
        train.launch(recipe, chosen.data_root, chosen.run_dir, chosen.gpus, chosen.processes, **options)


def _add_evaluate(commands) -> None:
    command = _add_command(commands, "evaluate", _evaluate, "Test a checkpoint by a protocol.")
    command.add_argument("checkpoint", help="of MMAction2, of the authors, or of this package")
    _add_ema(command)
    _add_data(command)
    protocols = tuple(recipes.PROTOCOLS)
    command.add_argument("--protocol", choices=protocols, help="default: the first of the checkpoint's recipe")
    command.add_argument("--out", help="where to write result.json; a test that was killed resumes from there")
    command.add_argument("--recipe", choices=tuple(recipes.RECIPES), help="where the checkpoint fits several")
    command.add_argument("--remap-classes", action="store_true", help="accept class names in another order")
    command.add_argument("--subset", type=int, help="test only so many videos, drawn at random")


def _given_recipe(chosen: argparse.Namespace) -> recipes.Recipe | None:
    """The recipe of --recipe, changed by --set; None if the checkpoint is to say it."""
    if chosen.set and not chosen.recipe:
        raise ValueError("--set changes the recipe given by --recipe, which is missing")
    changes = parse_changes(chosen.set)
    if "style" in changes:
        raise ValueError("the style follows from the checkpoint; pass --style to test in another one")
    return recipes.get(chosen.recipe).with_changes(changes) if chosen.recipe else None


def _evaluate(chosen: argparse.Namespace) -> None:
    recipe = _given_recipe(chosen)
    result = evaluate.run(
        checkpoint.read(chosen.checkpoint, chosen.ema),
        chosen.data_root,
        protocol=chosen.protocol,
        out=chosen.out,
        gpus=chosen.gpus,
        processes=chosen.processes,
        missing=chosen.missing,
        recipe=recipe,
        style=chosen.style,
        remap_classes=chosen.remap_classes,
        subset=chosen.subset,
        val_list=chosen.val_list,
        on_error=chosen.on_error,
    )
    if os.environ.get("RANK", "0") == "0":
        print(evaluate.result_page(result))


def _add_predict(commands) -> None:
    command = _add_command(commands, "predict", _predict, "The classes of your own videos, with probabilities.")
    what = "a video, a folder of frames or of videos, a pattern; or one camera:0 or address, see --window"
    command.add_argument("sources", nargs="+", metavar="FILE", help=what)
    names = ", ".join(checkpoint.PUBLISHED_FILES)
    command.add_argument("--weights", required=True, help=f"a checkpoint, or the name of a published one: {names}")
    protocols = tuple(recipes.PROTOCOLS)
    command.add_argument("--protocol", choices=protocols, help="default: the first of the checkpoint's recipe")
    command.add_argument("--recipe", choices=tuple(recipes.RECIPES), help="where the checkpoint fits several")
    _add_set(command)
    _add_ema(command)
    style = "the code base to follow, in everything; default: the checkpoint's"
    command.add_argument("--style", choices=recipes.STYLES, help=style)
    command.add_argument("--labels", help="label file of the data, for weights that do not name their classes")
    command.add_argument("--top", type=int, default=5, help="how many classes; default: 5")
    command.add_argument("--clips", action="store_true", help="the likeliest class of each clip, too")
    command.add_argument("--json", action="store_true", help="a line of JSON a video, with its clips")
    command.add_argument("--features", metavar="OUT", help="write a row a video to OUT.npy or OUT.safetensors, too")
    command.add_argument("--on-error", choices=SKIPPING, default="raise", help="videos that cannot be read")
    command.add_argument("--gpus", type=int, choices=(0, 1), default=0, help="default: 0, the CPU")
    command.add_argument("--window", type=int, help="frames of a stream for one prediction; default: 64")


def _predict(chosen: argparse.Namespace) -> None:
    if chosen.top < 1:
        raise ValueError(f"--top must be at least 1, got {chosen.top}")
    prediction.check_sources(chosen.sources, chosen.protocol, chosen.features, chosen.window)
    recipe = _given_recipe(chosen)
    predictor = prediction.Predictor(
        checkpoint.read(chosen.weights, chosen.ema),
        chosen.protocol,
        recipe,
        chosen.style,
        chosen.labels,
        chosen.gpus > 0,
    )
    for found in prediction.run(predictor, chosen.sources, chosen.features, chosen.on_error, chosen.window):
        if chosen.json:
            print(prediction.as_json(found, chosen.top), flush=True)
        else:
            print(prediction.as_text(found, chosen.top, chosen.clips), flush=True)


def _add_export(commands) -> None:
    text = "Write a network as a program that runs without this package: uint8 clips in, probabilities out."
    command = _add_command(commands, "export", _export, text)
    command.add_argument("checkpoint", help="of MMAction2, of the authors, or of this package")
    command.add_argument("target", help="the file to write")
    command.add_argument("--to", choices=exporting.TARGETS, required=True, help="torch: a program of torch.export")
    command.add_argument("--size", type=int, help="pixels, side of the frames; default: that of the recipe's tests")
    command.add_argument("--recipe", choices=tuple(recipes.RECIPES), help="where the checkpoint fits several")
    _add_set(command)


def _export(chosen: argparse.Namespace) -> None:
    recipe = _given_recipe(chosen)
    print(exporting.export(chosen.checkpoint, chosen.target, chosen.to, chosen.size, recipe))


def _add_summary(commands) -> None:
    text = "Parameters, multiply-accumulates and activation memory of the recipes' networks."
    command = _add_command(commands, "summary", _summary, text)
    command.add_argument("recipe", nargs="*", help="default: the published recipes")
    command.add_argument("--size", type=int, default=256, help="pixels, side of the frames; default: 256, as published")


def _summary(chosen: argparse.Namespace) -> None:
    published = [name for name in recipes.RECIPES if recipes.published_results(name)]
    print(summary_table([recipes.get(name) for name in chosen.recipe or published], chosen.size))


def _add_checkpoint(commands) -> None:
    text = "Look into a checkpoint, convert it, or pack a run and share it."
    command = commands.add_parser("checkpoint", help=text, description=text)
    actions = command.add_subparsers(required=True, metavar="ACTION")
    inspect = _add_command(actions, "inspect", _inspect, "Say what a checkpoint holds and how it is tested.")
    convert = _add_command(actions, "convert", _convert, "Write a checkpoint in another layout.")
    for action in (inspect, convert):
        action.add_argument("path", help="of MMAction2, of the authors, of torchvision's ResNet, or of this package")
        _add_ema(action)
    convert.add_argument("target", help="the file to write")
    layouts = ("tanet", *checkpoint.CLASS_ORDERS)
    convert.add_argument("--to", choices=layouts, default="tanet", help="default: tanet, as safetensors")
    convert.add_argument("--recipe", choices=tuple(recipes.RECIPES), help="where the file fits several")
    convert.add_argument("--data-root", help="take the class names from the label file of the data there")
    pack = _add_command(actions, "pack", _pack, "Put a run's weights, metrics and results into one folder to share.")
    pack.add_argument("run_dir", help="folder of the run")
    pack.add_argument("folder", help="the folder to make")
    pack.add_argument("--which", choices=("last", "best"), default="last", help="which checkpoint; default: last")
    push = _add_command(actions, "push", _push, "Put a packed folder on the Hugging Face Hub.")
    push.add_argument("folder", help="what pack made")
    push.add_argument("model", help="its name there, USER/NAME")
    push.add_argument("--public", action="store_true", help="for everybody to see; default: private, if it is new")


def _inspect(chosen: argparse.Namespace) -> None:
    print(checkpoint.describe(checkpoint.read(chosen.path, chosen.ema)))


def _convert(chosen: argparse.Namespace) -> None:
    stored = checkpoint.read(chosen.path, chosen.ema)
    recipe = recipes.get(chosen.recipe) if chosen.recipe else None
    datasets = datasets_at(chosen.data_root) if chosen.data_root else ()
    recipe = checkpoint.recipe_of(stored, recipe, datasets or None)
    listed = class_names_at(recipe.dataset, chosen.data_root) if chosen.data_root else None
    print(checkpoint.describe(checkpoint.convert(stored, chosen.target, chosen.to, recipe, listed)))


def _pack(chosen: argparse.Namespace) -> None:
    print("\n".join(share.pack(chosen.run_dir, chosen.folder, chosen.which)))


def _push(chosen: argparse.Namespace) -> None:
    print(share.push_to_hub(chosen.folder, chosen.model, private=not chosen.public))
