"""A run as one folder to share: weights, recipe, metrics, result pages, and a model card with what was measured.

`tanet checkpoint pack RUN_DIR FOLDER [--which best]` makes the folder, `tanet checkpoint push FOLDER USER/NAME` puts it
on the Hugging Face Hub. `from_pretrained` reads either.
"""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tanet import checkpoint, recipes
from tanet.checkpoint import Checkpoint, convert
from tanet.errors import DownloadError
from tanet.evaluate import list_tested, result_page
from tanet.model import TANet
from tanet.recipes import Recipe
from tanet.runtime import read_json, sha256, user_path, write_text

WEIGHTS, CARD = "model.safetensors", "README.md"


def pack(run_dir: str | os.PathLike, folder: str | os.PathLike, which: str = "last") -> list[str]:
    """Fills `folder`, which must not exist yet, from the run in `run_dir`; returns a report, line by line.

    The folder gets model.safetensors (`which` checkpoint: "last" or "best"), recipe.json, metrics.jsonl, README.md, and
    the page of every result*.json of the run that tested this very checkpoint. It appears whole or not at all. Raises
    FileNotFoundError, FileExistsError or CheckpointError.
    """
    run_dir, folder = user_path(run_dir), user_path(folder)
    if which not in ("last", "best"):
        raise ValueError(f"which must be last or best, got {which!r}")
    stored = checkpoint.read(run_dir / "checkpoints" / f"{which}.pth")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; name a new folder")
    results, other_results = _results(run_dir, sha256(stored.path))
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        convert(stored, partial / WEIGHTS)
        write_text(partial / "recipe.json", stored.recipe.to_json())
        shutil.copyfile(run_dir / "metrics.jsonl", partial / "metrics.jsonl")
        for path, result in results.items():
            write_text(partial / f"{path.stem}.md", result_page(result) + "\n")
        write_text(partial / CARD, model_card(stored, list(results.values()), sha256(partial / WEIGHTS)))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report = f"{folder}: {len(results)} result(s)"
    if not results:
        report += "; the card says that it was not tested"
    left_out = [f"{path}: left out, it tested another checkpoint than {stored.path.name}" for path in other_results]
    return [report, *left_out]


def push_to_hub(folder: str | os.PathLike, repo_id: str, private: bool = True, **options) -> str:
    """Puts a folder that `pack` made on the Hugging Face Hub, as the model "USER/NAME"; returns its address.

    A new model is `private` until you make it public there. `options`: as for `upload_folder` of huggingface_hub, such
    as `revision`. You must be logged in (`hf auth login`). Raises FileNotFoundError or CheckpointError if the folder is
    no packed one, ModuleNotFoundError without huggingface_hub, and DownloadError if the Hub refuses.
    """
    folder = user_path(folder)
    for name in (WEIGHTS, CARD):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; make the folder by tanet checkpoint pack")
    checkpoint.load_model(folder / WEIGHTS)  # what cannot be read is not shared
    with _hub(repo_id) as hub:
        api = hub.HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, **options)
    return f"https://huggingface.co/{repo_id}"


def from_pretrained(
    source: str | os.PathLike, revision: str | None = None, **options
) -> tuple[TANet, Recipe, tuple[str, ...] | None]:
    """The network of a packed folder, or of a model "USER/NAME" on the Hugging Face Hub, as `tanet.load_model`.

    `options`: as for `hf_hub_download` of huggingface_hub, such as `cache_dir` and `local_files_only`. Raises
    FileNotFoundError, CheckpointError, DownloadError, or ModuleNotFoundError without huggingface_hub.
    """
    if user_path(source).is_dir():
        return checkpoint.load_model(user_path(source) / WEIGHTS)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise FileNotFoundError(f"{source}: no such folder, nor a model USER/NAME on the Hugging Face Hub")
    with _hub(str(source)) as hub:
        path = hub.hf_hub_download(str(source), WEIGHTS, revision=revision, **options)
    return checkpoint.load_model(path)


@contextmanager
def _hub(repo_id: str) -> Iterator[ModuleType]:
    """huggingface_hub, whose errors become one line that names the model."""
    try:
        import huggingface_hub  # here: only who uses the Hub needs it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{repo_id}: the Hugging Face Hub needs a package that is not installed: pip install huggingface-hub"
        ) from error
    try:
        yield huggingface_hub
    except TypeError:  # an option that there is not
        raise
    except Exception as error:  # its HTTP library's are of no common kind
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DownloadError(f"{repo_id} on the Hugging Face Hub: {reason}") from error


def _results(run_dir: Path, digest: str) -> tuple[dict[Path, dict], list[Path]]:
    """The results of the checkpoint with this SHA-256, by file, and the files of other checkpoints' results."""
    results, other_results = {}, []
    for path in sorted(run_dir.glob("result*.json")):
        result = read_json(path)
        if result["sha256"] == digest:
            results[path] = result
        else:
            other_results.append(path)
    return results, other_results


def model_card(stored: Checkpoint, results: list[dict], digest: str) -> str:
    """README.md of a shared folder; `digest` is the SHA-256 of its weights."""
    recipe = stored.recipe
    parts = [
        "---\nlibrary_name: tanet\npipeline_tag: video-classification\ntags: [video-classification, tam, tanet]\n---",
        f"# {recipe.arch}, recipe {recipe.name}",
        f"A network of {recipe.num_frames} frames and {recipe.num_classes} classes with "
        f"{TEMPORAL[recipe.temporal]}, trained by the code of this package.",
        "## Use",
        _USE,
        "## Measured",
        *(_measured(results) or ["Not run: this checkpoint was not tested by any protocol."]),
        "## Training",
        "\n".join(f"- {line}" for line in _training(stored)),
        "## Files",
        f"- `{WEIGHTS}`: sha256 {digest}\n- `recipe.json`: every setting of the training\n"
        "- `metrics.jsonl`: a line every few steps and every epoch\n- `result*.md`: the tables above",
        "## Licence",
        "The weights come from the data named above, whose terms apply to them. Add the licence before you share this "
        "folder.",
    ]
    return "\n\n".join(parts) + "\n"


def _measured(results: list[dict]) -> list[str]:
    """The pages of the results, under a heading for each list of videos: figures of different lists are not alike."""
    of_lists, parts = {}, []
    for result in results:
        of_lists.setdefault(list_tested(result), []).append(result)
    for tested, of_list in of_lists.items():
        parts.append(f"### List: {tested}")
        parts += [result_page(result).replace("## ", "#### ", 1) for result in of_list]
    return parts


TEMPORAL = {
    "tam": "[TAM](https://arxiv.org/abs/2005.06803), the temporal adaptive module, in every bottleneck",
    "tam_local": "the local branch of TAM alone in every bottleneck",
    "tam_global": "the global branch of TAM alone in every bottleneck",
    "conv": "a fixed temporal convolution in every bottleneck",
    "tsm": "TSM, the temporal shift module, in every bottleneck",
    "none": "no temporal module (TSN)",
}
_USE = f"""```python
from tanet import load_model

model, recipe, class_names = load_model("{WEIGHTS}")  # in eval mode, on the CPU
# logits = model(clips)  for uint8 RGB clips [N, T, 3, H, W], T = recipe.num_frames
```

`tanet evaluate {WEIGHTS} --data-root DATA` tests it again."""


def _training(stored: Checkpoint) -> list[str]:
    """How the checkpoint was trained: data, extent, changes of the recipe, and the last epoch's figures."""
    recipe, history, data = stored.recipe, stored.rest["history"], stored.rest["data"]
    lines = [
        f"Data: {recipe.dataset}, {data['train']['videos']} training and {data['val']['videos']} validation videos "
        f"(sha256 of the lists {data['train']['sha256'][:16]}..., {data['val']['sha256'][:16]}...).",
        f"{len(history)} of {recipe.epochs} epochs, {len(stored.rest['sums'])} process(es) of "
        f"{recipe.clips_per_process} clips x {recipe.accumulation}, {stored.rest['numerics']['precision']}, started "
        f"from {Path(recipe.init).name}, seed {recipe.seed}.",
        _changes(recipe),
    ]
    if history:
        last = history[-1]
        lines.append(
            f"At the end: training loss {last['loss']:.3f}, validation top-1 {last['val_top1']:.2f}% (one centred "
            "clip)."
        )
    return lines


def _changes(recipe: Recipe) -> str:
    """The fields that differ from the preset of the recipe's name."""
    changes = []
    if recipe.name in recipes.RECIPES:
        preset = dataclasses.asdict(recipes.get(recipe.name))
        for name, value in dataclasses.asdict(recipe).items():
            if value != preset[name]:
                changes.append(f"{name} = {value} (recipe: {preset[name]})")
    if not changes:
        return "No field of the recipe was changed."
    return f"CHANGED from the recipe: {'; '.join(changes)}."
