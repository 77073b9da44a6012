"""Clips for training and validation, and the batches in which ranks and workers load them."""

from collections import Counter

import numpy as np
import pytest
import torch

from tanet.data import EpochBatches, TrainingClips, ValidationClips, load_list, training_loader, validation_loader
from tanet.errors import DataError, VideoError


def test_clips_are_contiguous_uint8_of_the_crop_size(kinetics_root, kinetics_recipe, something_root, something_recipe):
    for root, recipe in ((kinetics_root, kinetics_recipe), (something_root, something_recipe)):
        training, validation = (load_list(recipe, root, split) for split in ("train", "val"))
        for clip, label, index in (TrainingClips(training, recipe)[0, 5], ValidationClips(validation, recipe)[5]):
            assert clip.shape == (8, 3, 48, 48) and clip.dtype == torch.uint8 and clip.is_contiguous()
            assert index == 5 and 0 <= label < 8


@pytest.fixture(scope="module")
def demo(something_root, something_recipe):
    return load_list(something_recipe, something_root, "train"), something_recipe


def epoch_samples(videos, recipe, epoch):
    """An epoch's samples as the training loads them: {index: (clip, label)}."""
    loader = training_loader(videos, recipe)
    loader.batch_sampler.epoch = 0
    list(loader)  # persistent workers must not remember an earlier epoch
    loader.batch_sampler.epoch = epoch
    return {
        int(index): (clip, int(label))
        for clips, labels, indices, _ in loader
        for clip, label, index in zip(clips, labels, indices)
    }


def same(samples, others):
    """Whether two dictionaries {index: (clip, label)} are equal."""
    return samples.keys() == others.keys() and all(
        torch.equal(samples[i][0], others[i][0]) and samples[i][1] == others[i][1] for i in samples
    )


@pytest.mark.slow
def test_samples_are_the_same_whatever_the_number_of_workers(demo):
    videos, recipe = demo
    without_workers = epoch_samples(videos, recipe, 3)
    assert len(without_workers) == 32
    for workers in (1, 2):
        assert same(without_workers, epoch_samples(videos, recipe.with_changes({"workers": workers}), 3))


def test_a_sample_is_a_function_of_seed_epoch_and_index_alone(demo):
    videos, recipe = demo
    clips = TrainingClips(videos, recipe)
    forwards = {i: clips[2, i][:2] for i in range(8)}
    torch.manual_seed(99)
    backwards = {i: clips[2, i][:2] for i in reversed(range(8))}
    assert same(forwards, dict(sorted(backwards.items())))


@pytest.mark.parametrize("changes, epoch", [({}, 3), ({"seed": 1}, 2)])
def test_another_epoch_or_seed_gives_other_clips(demo, changes, epoch):
    videos, recipe = demo
    clips, others = TrainingClips(videos, recipe), TrainingClips(videos, recipe.with_changes(changes))
    differing = sum(not torch.equal(clips[2, i][0], others[epoch, i][0]) for i in range(8))
    assert differing >= 7


def test_labels_are_swapped_exactly_where_the_pixels_are_mirrored(demo):
    videos, recipe = demo
    swapping, plain, without = (
        TrainingClips(videos, recipe.with_changes({"flip": f})) for f in ("swap", "plain", "none")
    )
    left, right = (videos.class_names.index(f"Pushing something from {a}") for a in ("left to right", "right to left"))
    opposite, cases = {left: right, right: left}, Counter()
    for index in range(32):
        clip, label, _ = swapping[0, index]
        original, true_label, _ = without[0, index]
        flipped = torch.equal(clip, original.flip(-1))
        assert flipped or torch.equal(clip, original)
        assert label == (opposite.get(true_label, true_label) if flipped else true_label)
        assert torch.equal(plain[0, index][0], clip) and plain[0, index][1] == true_label
        cases[flipped, true_label in opposite] += 1
    assert len(cases) == 4  # flipped and not, of classes with an opposite and without


@pytest.mark.parametrize("num_samples, batch, world_size", [(32, 4, 2), (37, 3, 3), (16, 16, 1), (100, 7, 4)])
def test_ranks_share_each_total_batch_without_overlap(num_samples, batch, world_size):
    ranks = [EpochBatches(num_samples, batch, 5, rank, world_size) for rank in range(world_size)]
    single = EpochBatches(num_samples, batch * world_size, 5)
    for epoch in (0, 1):
        for batches in (*ranks, single):
            batches.epoch = epoch
        shares = [list(batches) for batches in ranks]
        assert {len(share) for share in shares} == {len(single)} == {num_samples // (batch * world_size)}
        for step, total_batch in enumerate(single):
            keys = [key for share in shares for key in share[step]]
            assert sorted(keys) == sorted(total_batch) and len(set(keys)) == batch * world_size
            assert {key[0] for key in keys} == {epoch}


@pytest.mark.parametrize(
    "batch, world_size, accumulation", [(8, 1, 1), (4, 2, 1), (4, 1, 2), (2, 2, 2), (2, 1, 4), (1, 4, 2)]
)
def test_a_step_has_the_same_clips_however_ranks_share_it(batch, world_size, accumulation):
    steps = []
    for rank in range(world_size):
        batches = EpochBatches(37, batch, 5, rank, world_size, accumulation)
        assert (batches.step_clips, batches.steps) == (8, 4) and len(batches) == 4 * accumulation == len(list(batches))
        drawn = [index for batch_keys in batches for _, index in batch_keys]
        steps.append(np.array(drawn).reshape(4, -1))
    all_ranks = np.sort(np.concatenate(steps, 1), 1)
    order = np.random.default_rng((5, 0)).permutation(37)[:32].reshape(4, 8)
    assert np.array_equal(all_ranks, np.sort(order, 1))


@pytest.mark.parametrize("batch, world_size", [(8, 1), (4, 2), (2, 1), (4, 4)])
def test_an_epoch_resumes_at_the_clip_where_it_was_left(batch, world_size):
    order = np.random.default_rng((5, 1)).permutation(37)
    drawn = []
    for rank in range(world_size):
        batches = EpochBatches(37, batch, 5, rank, world_size)
        batches.epoch, batches.start = 1, 16
        drawn += [index for batch_keys in batches for _, index in batch_keys]
    assert sorted(drawn) == sorted(order[16 : 16 + len(drawn)].tolist())
    assert len(drawn) == (37 - 16) // (batch * world_size) * batch * world_size


def test_an_epoch_has_every_video_once_if_batches_divide_it_and_epochs_differ_in_order():
    batches = EpochBatches(32, 8, 0)
    orders = []
    for epoch in (0, 1):
        batches.epoch = epoch
        orders.append([index for batch in batches for _, index in batch])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(32))
    assert orders[0] != orders[1]


def test_too_few_videos_for_one_step_are_refused():
    with pytest.raises(DataError, match="15 training videos do not fill one step of 16 clips"):
        EpochBatches(15, 8, 0, world_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_together_validate_every_video_once(something_root, something_recipe, world_size):
    videos = load_list(something_recipe, something_root, "val")
    loaders = [validation_loader(videos, something_recipe, rank, world_size) for rank in range(world_size)]
    indices = [int(index) for loader in loaders for _, _, batch, _ in loader for index in batch]
    assert sorted(indices) == list(range(16))


def test_validation_takes_the_middle_of_each_segment_and_the_centre(sth1):
    root, recipe, _ = sth1
    videos = load_list(recipe, root, "val")  # frames of red 0, 40, 80 and 120; 8 segments of half a frame each
    clip, _, _ = ValidationClips(videos, recipe)[0]
    assert ((clip[:, 0].float().mean((1, 2)) / 40).round().tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_reading_a_broken_video_raises_an_error_that_names_it(kinetics):
    root, recipe, _ = kinetics
    videos = load_list(recipe, root, "train")  # the files are empty
    with pytest.raises(VideoError, match="-4wsuPCjDBc_000005_000015.mp4"):
        TrainingClips(videos, recipe)[0, 0]
