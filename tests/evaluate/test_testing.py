import dataclasses
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support.children import HANG, said, start_group, wait
from support.signals import die_after

from tanet import checkpoint, cli, evaluate, recipes, tanet_tiny
from tanet.checkpoint import conversion, read_file
from tanet.data import FrameFolder, dense_clips, load_list, uniform_frames
from tanet.errors import CheckpointError, VideoError
from tanet.evaluate import PartialScores, result_page, score_videos, testing, views_at_once
from tanet.runtime import Process

ONE_GPU_TOO_MANY = (torch.cuda.device_count() if torch.cuda.is_available() else 0) + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 frames: red grows from left to right, green with the frame's index."""
    path = tmp_path_factory.mktemp("frames")
    frame = np.zeros((56, 112, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, 112)
    for i in range(100):
        frame[..., 1] = 2 * i
        Image.fromarray(frame).save(path / f"{i + 1:05d}.jpg", quality=95, subsampling=0)
    return path


def shown(views):
    """The frames' indices [views, T] and the order of the views' places from left to right."""
    indices = (views[:, :, 1].float().mean((-2, -1)) / 2).round().int().numpy()
    return indices, views[:, 0, 0].float().mean((-2, -1))


PROTOCOLS = {
    "k400-dense": (10, 3, 256, lambda: dense_clips(100, 8)),
    "sth-efficient": (1, 1, 224, lambda: uniform_frames(100, 8)),
    "sth-accurate": (2, 3, 256, lambda: uniform_frames(100, 8, twice=True)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_views_are_ordered_by_crop_then_clip_then_frame(folder, protocol):
    clips, crops, size, indices = PROTOCOLS[protocol]
    views = evaluate.test_views(folder, protocol)
    assert views.shape == (crops * clips, 8, 3, size, size) and views.dtype == torch.uint8
    found, place = shown(views)
    assert np.abs(found - np.tile(indices(), (crops, 1))).max() <= 1  # JPEG may be half a level off
    place = place.view(crops, clips)
    torch.testing.assert_close(place, place[:, :1].expand(crops, clips), atol=1, rtol=0)
    if crops == 3:
        left, right, middle = place[:, 0]
        assert left < middle < right


def test_views_follow_the_recipe(folder):
    recipe = recipes.get("demo_kinetics").with_changes({"num_frames": 16})
    assert evaluate.test_views(folder, "k400-dense", recipe).shape == (30, 16, 3, 48, 48)
    assert evaluate.test_views(folder, "sth-efficient", recipe).shape == (1, 16, 3, 48, 48)
    official = recipes.in_style(recipe, "official").with_changes({"sampling": "uniform"})
    found, _ = shown(evaluate.test_views(folder, "sth-accurate", official))
    assert np.abs(found[:2] - uniform_frames(100, 16, twice=True, style="official")).max() <= 1


def test_unknown_protocol_is_refused_with_those_there_are(folder):
    with pytest.raises(ValueError, match="'k400'.*k400-dense, sth-efficient, sth-accurate"):
        evaluate.test_views(folder, "k400")


@torch.no_grad()
@pytest.mark.parametrize("style", ["mmaction2", "official"])
def test_views_are_averaged_in_the_style_of_the_code_base(device, style):
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=2).to(device).eval()
    torch.nn.init.normal_(model.fc.weight)
    views = torch.randint(0, 256, (7, 2, 3, 48, 48), dtype=torch.uint8)
    logits = torch.stack([model(view[None].to(device))[0] for view in views]).cpu()
    wanted = logits.softmax(1).mean(0) if style == "mmaction2" else logits.mean(0).softmax(0)
    for batch in (1, 3, 30):
        torch.testing.assert_close(evaluate.score_views(model, views, style, batch), wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def weights(trained_run):
    return trained_run / "checkpoints/last.pth"


@pytest.mark.parametrize(
    "protocol", [pytest.param("k400-dense", marks=pytest.mark.slow), "sth-efficient", "sth-accurate"]
)
def test_result_is_written_and_its_numbers_agree(tmp_path, weights, something_root, protocol):
    result = evaluate.run(weights, something_root, protocol, tmp_path / "new/result.json")
    assert json.loads((tmp_path / "new/result.json").read_text()) == result
    confusion = np.array(result["confusion"])
    rows = result["per_video"]
    assert result["protocol"] == protocol and result["recipe"] == "demo_something"
    assert result["tested"] == result["listed"] == 16
    assert confusion.sum() == len(rows) == 16
    assert result["top1"] == pytest.approx(100 * np.trace(confusion) / 16)
    assert result["top1"] == pytest.approx(100 * np.mean([row["label"] == row["predicted"] for row in rows]))
    assert result["top1"] <= result["top5"] <= 100
    assert all(0 <= row["probability"] <= 1 for row in rows)
    assert result["mean_class_accuracy"] == pytest.approx(np.mean([row["accuracy"] for row in result["per_class"]]))
    for row in result["per_class"]:
        index = result["class_names"].index(row["class"])
        assert row["videos"] == confusion[index].sum() == 2
        assert row["accuracy"] == pytest.approx(100 * confusion[index, index] / 2)


@torch.no_grad()
def test_probabilities_are_those_of_the_views(weights, something_root):
    from tanet import load_model

    row = evaluate.run(weights, something_root, "sth-accurate")["per_video"][3]
    model, recipe, _ = load_model(weights)
    scores = model(evaluate.test_views(something_root / row["path"], "sth-accurate", recipe)).softmax(1).mean(0)
    assert row["predicted"] == scores.argmax().item()
    assert row["probability"] == row["scores"][row["label"]]
    assert row["scores"] == pytest.approx(scores.tolist(), rel=1e-4)


def test_the_recipes_first_protocol_is_the_default_and_the_command_line_says_the_numbers(
    tmp_path, capsys, weights, something_root
):
    out = tmp_path / "result.json"
    cli.main(["evaluate", str(weights), "--data-root", str(something_root), "--out", str(out)])
    result = json.loads(out.read_text())
    assert result["protocol"] == "sth-efficient"
    assert f"| measured here | {result['top1']:.2f} (" in capsys.readouterr().out
    assert f"| measured here | {result['top1']:.2f} (" in (tmp_path / "result.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "result.md"]


def test_unknown_protocol_and_missing_data_are_refused_before_anything_is_written(tmp_path, weights, something_root):
    with pytest.raises(ValueError, match="no protocol 'ten-crop'"):
        evaluate.run(weights, something_root, "ten-crop", tmp_path / "result.json")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate.run(weights, tmp_path / "nowhere", out=tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def relinked(something_root, target):
    """The same data set, its small files copied and its videos linked."""
    target.mkdir()
    for path in something_root.glob("*.csv"):
        (target / path.name).write_text(path.read_text())
    videos = target / "20bn-something-something-v1"
    videos.mkdir()
    for path in (something_root / videos.name).iterdir():
        (videos / path.name).symlink_to(path)
    return target


def test_another_order_of_classes_is_refused(tmp_path, weights, something_root):
    root = relinked(something_root, tmp_path / "data")
    labels = root / "something-something-v1-labels.csv"
    labels.write_text("\n".join(sorted(labels.read_text().splitlines())))
    with pytest.raises(CheckpointError, match=r"last.pth.*another order.*class 0 is.*--remap-classes"):
        evaluate.run(weights, root)
    remapped, plain = evaluate.run(weights, root, remap_classes=True), evaluate.run(weights, something_root)
    assert "remapped" in remapped["class_order"] and remapped["class_names"] == sorted(plain["class_names"])
    assert remapped["top1"] == plain["top1"]
    for one, other in zip(remapped["per_video"], plain["per_video"]):
        by_name = dict(zip(plain["class_names"], other["scores"]))
        assert one["scores"] == [by_name[name] for name in remapped["class_names"]]


def test_other_classes_are_refused(tmp_path, weights, something_root):
    root = relinked(something_root, tmp_path / "data")
    for path in root.glob("*.csv"):
        path.write_text(path.read_text().replace("Uncovering something", "Hiding something"))
    with pytest.raises(CheckpointError, match=r"last.pth.*other classes.*Hiding something, Uncovering something"):
        evaluate.run(weights, root, remap_classes=True)


def test_missing_videos_are_an_error_or_counted(tmp_path, weights, something_root):
    root = relinked(something_root, tmp_path / "data")
    (root / "20bn-something-something-v1/34").unlink()
    with pytest.raises(FileNotFoundError, match="34"):
        evaluate.run(weights, root)
    result = evaluate.run(weights, root, missing="skip")
    assert (result["tested"], result["listed"], len(result["per_video"])) == (15, 16, 15)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, weights, something_root):
    """The result of one process that nothing disturbed, as written."""
    out = tmp_path_factory.mktemp("undisturbed") / "result.json"
    evaluate.run(weights, something_root, "sth-accurate", out)
    return out.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_write_the_same_result(
    tmp_path, forked_workers, weights, something_root, undisturbed, processes
):
    out = tmp_path / "result.json"
    evaluate.run(weights, something_root, "sth-accurate", out, processes=processes)
    assert out.read_bytes() == undisturbed


@pytest.mark.slow
def test_one_video_is_scored_alike_by_any_number_of_processes(tmp_path, forked_workers, weights, something_root):
    written = []
    for processes in (1, 2, 3):
        out = tmp_path / f"{processes}.json"
        assert evaluate.run(weights, something_root, out=out, processes=processes, subset=1)["tested"] == 1
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.slow
def test_under_torchrun_the_same_result_is_written_once(tmp_path, weights, something_root, undisturbed):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tanet.evaluate", weights, "--data-root", something_root]
    command += ["--out", tmp_path / "result.json", "--protocol", "sth-accurate"]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, timeout=HANG)
    assert (tmp_path / "result.json").read_bytes() == undisturbed
    assert ended.stdout.count("| measured here |") == 1


def die_after_a_video():
    """This process dies when it has written the scores of a video."""
    die_after(PartialScores, "add")


@pytest.mark.slow
@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_a_killed_test_goes_on_and_writes_the_same_result(
    tmp_path, weights, something_root, undisturbed, before, after
):
    out, output = tmp_path / "result.json", tmp_path / "said.txt"
    arguments = (weights, something_root, "sth-accurate", out)
    hooks = dict.fromkeys(range(before), die_after_a_video)
    assert wait(*start_group(before, evaluate.run, *arguments, hooks=hooks)) == [-signal.SIGKILL] * before
    partial = tmp_path / "result.json.partial"
    lines = sum(path.read_text().count("\n") for path in partial.glob("scores-*.jsonl"))
    assert lines == before and not out.exists()
    finished = start_group(after, evaluate.run, *arguments, output=output)
    assert wait(*finished) == [0] * after, said(*finished)
    assert f"{before} of 16 videos are scored already" in said(*finished)
    assert out.read_bytes() == undisturbed
    assert not partial.exists()


def test_a_part_of_another_test_is_refused_with_the_difference(tmp_path, weights, something_root, monkeypatch):
    out = tmp_path / "result.json"
    with monkeypatch.context() as patched:
        patched.setattr(testing, "write_result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            evaluate.run(weights, something_root, "sth-efficient", out)
    kept = sorted((tmp_path / "result.json.partial").iterdir())
    trained = "'epochs': 2, 'lr_steps': [1]"  # the fixture's changes of the preset
    for change, words in (
        ({"protocol": "sth-accurate"}, "protocol: 'sth-efficient' there, 'sth-accurate' now"),
        ({"style": "official"}, "style: 'mmaction2' there, 'official' now"),
        ({"subset": 5}, "tested: 16 there, 5 now"),
        (
            {"recipe": recipes.get("demo_something").with_changes({"short_side": 60})},
            f"recipe_changes: {{{trained}}} there, {{{trained}, 'short_side': 60}} now",
        ),
    ):
        words = re.escape(words)
        with pytest.raises(ValueError, match=f"result.json.partial holds a part of another test.*{words}"):
            evaluate.run(weights, something_root, out=out, **({"protocol": "sth-efficient"} | change))
    assert sorted((tmp_path / "result.json.partial").iterdir()) == kept and not out.exists()


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_subset_is_drawn_alike_each_time_and_marked(tmp_path, weights, something_root):
    whole = evaluate.run(weights, something_root)
    part = evaluate.run(weights, something_root, subset=5)
    assert part == evaluate.run(weights, something_root, subset=5)
    rows = {row["path"]: row for row in whole["per_video"]}
    assert len(part["per_video"]) == 5
    for row in part["per_video"]:
        assert row == rows[row["path"]]
    assert "5 of 16, a subset" in result_page(part) and "subset" not in result_page(whole)
    assert evaluate.run(weights, something_root, subset=99)["tested"] == 16
    with pytest.raises(ValueError, match="at least 1"):
        evaluate.run(weights, something_root, subset=0)


@pytest.mark.parametrize("layout", ["mmaction2", "official", "tanet"])
def test_a_converted_network_is_tested_alike(tmp_path, weights, something_root, layout):
    """Through another layout, other names and another order of classes, to the same scores."""
    own = evaluate.run(weights, something_root)
    conversion.convert(weights, tmp_path / "converted", layout)
    assert evaluate.run(tmp_path / "converted", something_root)["per_video"] == own["per_video"]


def stripped(path, target, layout):
    """As somebody else would have written it: the weights by their names and nothing else."""
    content, _ = read_file(path)
    torch.save({"state_dict": content["state_dict"], "epoch": 50}, target)
    return checkpoint.read(target)


def test_a_file_in_the_official_layout_has_its_classes_sorted_and_is_tested_in_official_style(
    tmp_path, weights, something_root
):
    conversion.convert(weights, tmp_path / "ours.pth", "official")
    theirs = stripped(tmp_path / "ours.pth", tmp_path / "theirs.pth", "official")
    assert theirs.class_names is None
    result = evaluate.run(theirs, something_root)
    assert (result["recipe"], result["style"], result["checkpoint_style"]) == ("demo_something", "official", "official")
    assert result["class_order"] == "sorted in the checkpoint, remapped to the label file's order"
    own = evaluate.run(weights, something_root, style="official")
    for one, other in zip(result["per_video"], own["per_video"]):  # the sum of a softmax depends on its order
        assert one["scores"] == pytest.approx(other["scores"], rel=1e-6)
    assert "MIXED" in result_page(own) and "MIXED" not in result_page(result)


def test_a_file_in_mmaction2s_layout_has_its_classes_as_listed(tmp_path, weights, something_root):
    conversion.convert(weights, tmp_path / "ours.pth", "mmaction2")
    theirs = stripped(tmp_path / "ours.pth", tmp_path / "theirs.pth", "mmaction2")
    result = evaluate.run(theirs, something_root)
    assert (result["style"], result["class_order"]) == ("mmaction2", "in the order of the label file")
    assert result["per_video"] == evaluate.run(weights, something_root)["per_video"]


def test_the_two_styles_score_differently(weights, something_root):
    one, other = (evaluate.run(weights, something_root, style=style) for style in ("mmaction2", "official"))
    scores, others = (np.array([row["scores"] for row in result["per_video"]]) for result in (one, other))
    assert np.abs(scores - others).max() > 1e-4


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere.pth", "--data-root", "data"], "nowhere.pth"),
        (["weights", "--data-root", "nowhere"], "nowhere"),
        (["weights", "--data-root", "data", "--set", "num_frames=16"], "--recipe"),
        (["weights", "--data-root", "data", "--recipe", "sthv1_8f"], "num_classes = 174"),
        (["weights", "--data-root", "data", "--recipe", "demo_something", "--set", "style=official"], "--style"),
        (["weights", "--data-root", "data", "--gpus", str(ONE_GPU_TOO_MANY)], "found on this machine"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_a_line(capsys, weights, something_root, arguments, words):
    places = {"weights": str(weights), "data": str(something_root)}
    with pytest.raises(SystemExit) as failure:
        cli.main(["evaluate", *(places.get(argument, argument) for argument in arguments)])
    message = capsys.readouterr().err
    assert failure.value.code == 1 and words in message and message.count("\n") == 1


@pytest.mark.parametrize(
    "out, words", [("", "name a file"), ("file/result.json", "'.*/file'"), ("page.md", "name the result page.json")]
)
def test_a_result_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path, monkeypatch, weights, something_root, out, words
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(testing, "score_videos", lambda *_: pytest.fail("computes"))
    with pytest.raises((OSError, ValueError), match=words):
        evaluate.run(weights, something_root, "sth-efficient", tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_page_that_cannot_be_written_is_refused_too(tmp_path, monkeypatch, weights, something_root):
    (tmp_path / "result.md").mkdir()
    monkeypatch.setattr(testing, "score_videos", lambda *_: pytest.fail("computes"))
    with pytest.raises(IsADirectoryError, match="result.md"):
        evaluate.run(weights, something_root, "sth-efficient", tmp_path / "result.json")


def test_a_wrong_folder_is_named_before_a_recipe_is_asked_for(tmp_path, weights):
    conversion.convert(weights, tmp_path / "ours.pth", "mmaction2")
    theirs = stripped(tmp_path / "ours.pth", tmp_path / "theirs.pth", "mmaction2")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate.plan(theirs, tmp_path / "nowhere")


@pytest.mark.slow
def test_what_one_of_several_processes_fails_of_is_said_first(
    tmp_path, capsys, forked_workers, weights, something_root
):
    root = relinked(something_root, tmp_path / "data")
    broken = root / "20bn-something-something-v1/35"
    broken.unlink()
    broken.mkdir()
    with pytest.raises(SystemExit) as failure:
        cli.main(["evaluate", str(weights), "--data-root", str(root), "--processes", "2"])
    said = capsys.readouterr().err
    assert (
        failure.value.code == 1
        and re.match(r"the process of rank \d failed: .*VideoError", said)
        and "/35: no .jpg" in said
    )


@pytest.mark.slow
def test_weights_changed_in_memory_are_what_several_processes_test(forked_workers, weights, something_root):
    stored = checkpoint.read(weights)
    silent = stored.weights | {"fc.weight": torch.zeros_like(stored.weights["fc.weight"])}
    result = evaluate.run(dataclasses.replace(stored, weights=silent), something_root, processes=2)
    assert len({tuple(row["scores"]) for row in result["per_video"]}) == 1  # the bias alone


@pytest.fixture
def videos(something_root, something_recipe):
    return load_list(something_recipe, something_root, "val")


@pytest.mark.parametrize(
    "protocol, count, sizes",
    [("sth-efficient", 16, [28]), ("sth-accurate", 14, [24] * 4), ("k400-dense", 3, [28, 2] * 3)],
)
def test_views_of_several_videos_are_computed_together_to_the_same_scores(
    device, weights, videos, protocol, count, sizes
):
    from tanet import load_model

    videos = dataclasses.replace(videos, samples=videos.samples[:count])
    model, recipe, _ = load_model(weights)
    model, process, together = model.to(device), Process(0, 1, torch.device(device)), []
    model.register_forward_pre_hook(lambda module, inputs: together.append(len(inputs[0])))
    scores, unreadable = score_videos(model, videos, protocol, recipe, process)
    assert together == sizes if device == "cpu" else set(together) == {30}
    assert sorted(scores) == list(range(count)) and unreadable == {}
    for index, row in scores.items():
        alone = evaluate.score_views(model, evaluate.test_views(videos.samples[index], protocol, recipe), recipe.style)
        np.testing.assert_allclose(row, alone.numpy(), atol=1e-6 if device == "cpu" else 1e-5, rtol=0)


class Together(torch.nn.Module):
    """Its scores depend on all that is computed together, as the last bits of a network's do."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(1, 1)
        self.calls = 0

    def forward(self, clips):
        self.calls += 1
        own = clips.float().mean((1, 2, 3, 4)) / 255  # [N]
        return torch.stack([own, own.mean().expand_as(own), torch.full_like(own, len(own))], 1)


@dataclasses.dataclass(frozen=True)
class OneOf(Process):
    """A process whose others are not there: it gathers what is its own."""

    def gather(self, value):
        return [value]


def one_of(rank=0, world_size=1):
    return OneOf(rank, world_size, torch.device("cpu"))


def by_five(videos, recipe, *how, **more):
    """Scores in groups of five videos, and the number of groups that were computed."""
    model = Together()
    scores, _ = score_videos(model, videos, "sth-efficient", recipe, *how, **more, batch=5)
    return {index: row.tobytes() for index, row in scores.items()}, model.calls


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_what_is_computed_together_does_not_depend_on_the_number_of_processes(videos, something_recipe, processes):
    alone, groups = by_five(videos, something_recipe)
    shares = [by_five(videos, something_recipe, one_of(rank, processes))[0] for rank in range(processes)]
    assert groups == 4 and sum(map(len, shares)) == 16
    assert {index: row for share in shares for index, row in share.items()} == alone


@pytest.mark.parametrize("before, groups", [([0], 4), ([0, 1, 2, 3, 4], 3), ([3, 7, 12, 15], 3), (range(16), 0)])
def test_nor_on_what_was_scored_before_a_test_was_killed(tmp_path, videos, something_recipe, before, groups):
    """A group of which a video is missing is computed whole, and the others of it are not written again."""
    partial = PartialScores(tmp_path / "result.json", {})
    undisturbed, _ = by_five(videos, something_recipe, partial=partial)
    lines = (partial.folder / "scores-0.jsonl").read_text().splitlines(keepends=True)
    (partial.folder / "scores-0.jsonl").write_text("".join(lines[index] for index in before))
    assert by_five(videos, something_recipe, partial=partial) == (undisturbed, groups)
    written = "".join(path.read_text() for path in partial.folder.glob("scores-*.jsonl")).splitlines(keepends=True)
    assert sorted(written) == sorted(lines)


def test_a_video_that_cannot_be_read_leaves_the_scores_of_those_beside_it_as_they_are(tmp_path, weights, videos):
    from tanet import load_model

    model, recipe, _ = load_model(weights)
    whole, _ = score_videos(model, videos, "sth-efficient", recipe, batch=4)
    for gone in ([0], [3, 5, 6], [4, 5, 6, 7, 15], list(range(16))):
        samples = list(videos.samples)
        for index in gone:
            samples[index] = dataclasses.replace(samples[index], path=tmp_path / f"{index}")
        damaged = dataclasses.replace(videos, samples=tuple(samples))
        found, unreadable = score_videos(model, damaged, "sth-efficient", recipe, on_error="skip", batch=4)
        assert {index: row.tobytes() for index, row in found.items()} == {
            index: row.tobytes() for index, row in whole.items() if index not in gone
        }
        assert sorted(unreadable) == gone and all(f"{tmp_path}/{index}" in unreadable[index] for index in gone)
        with pytest.raises(VideoError, match=f"{tmp_path}/{gone[0]}: .*--on-error skip"):
            score_videos(model, damaged, "sth-efficient", recipe, batch=4)


@pytest.mark.parametrize("protocol", ["sth-efficient", "sth-accurate"])
def test_a_video_has_the_same_scores_to_the_bit_in_any_list(weights, videos, protocol):
    from tanet import load_model

    model, recipe, _ = load_model(weights)
    whole, _ = score_videos(model, videos, protocol, recipe)
    for part in ([5], [15, 0, 7], list(range(9))):
        some = dataclasses.replace(videos, samples=tuple(videos.samples[index] for index in part))
        scores, _ = score_videos(model, some, protocol, recipe)
        assert [scores[row].tobytes() for row in range(len(part))] == [whole[index].tobytes() for index in part]


def test_a_video_scored_before_keeps_its_scores_when_it_can_no_longer_be_read(tmp_path, videos, something_recipe):
    partial = PartialScores(tmp_path / "result.json", {})
    partial.prepare()
    partial.add(0, 1, np.ones(3, np.float32))
    samples = list(videos.samples)
    samples[1] = dataclasses.replace(samples[1], path=tmp_path / "gone")
    damaged = dataclasses.replace(videos, samples=tuple(samples))
    scores, unreadable = score_videos(Together(), damaged, "sth-efficient", something_recipe, partial=partial, batch=5)
    assert scores[1].tolist() == [1, 1, 1] and len(scores) == 16 and unreadable == {}


def test_progress_counts_videos(capsys, monkeypatch, videos, something_recipe):
    monkeypatch.setattr("tanet.runtime.progress.LINE_EVERY", -1)
    by_five(videos, something_recipe)
    assert capsys.readouterr().out.splitlines() == [f"sth-efficient, videos: {done} of 16" for done in range(1, 16)]


def test_a_cpu_computes_large_views_a_few_at_a_time():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [views_at_once(8, side, gpu) for side in (48, 224, 256)] == [30, 30, 30]
    assert [views_at_once(8, side, cpu) for side in (32, 48, 112, 224, 256)] == [30, 28, 5, 1, 1]


def test_frames_shared_by_views_are_decoded_once(folder, monkeypatch):
    asked = []
    original = FrameFolder._decode
    monkeypatch.setattr(FrameFolder, "_decode", lambda self, indices: asked.append(indices) or original(self, indices))
    views = evaluate.test_views(folder, "k400-dense")
    assert asked == [sorted(set(dense_clips(100, 8).flatten().tolist()))]
    assert views.shape[0] == 30
