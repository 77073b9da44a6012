import pytest
import torch

from tanet import TANet
from tanet.model import interventions


def network(temporal="tam", seed=0) -> TANet:
    """Two stages, 4 frames, in eval mode; its classifier tells clips apart."""
    torch.manual_seed(seed)
    model = TANet((1, 1), num_classes=3, num_frames=4, temporal=temporal, width=8)
    torch.nn.init.normal_(model.fc.weight)
    return model.eval()


def clips(m=5, seed=0) -> torch.Tensor:
    return torch.randint(256, (m, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[2, 64])
def in_parts(request, monkeypatch):
    """What is computed for many clips, also where they do not fit into one part."""
    monkeypatch.setattr(interventions, "BATCH", request.param)


def test_its_own_maps_change_nothing(in_parts):
    model = network()
    maps = interventions.maps_of(model, clips())
    assert [tuple(V.shape) + tuple(W.shape) for V, W in maps.values()] == [(5, 8, 4, 5, 8, 3), (5, 16, 4, 5, 16, 3)]
    torch.testing.assert_close(interventions.scores(model, clips(), maps), model(clips()))


def test_a_kernel_that_takes_the_frame_itself_makes_it_a_network_without_tam(in_parts):
    model, plain = network(), network("none")
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if ".temporal." not in key})
    maps = {block: (torch.ones(1, 1, 1), torch.tensor([0.0, 1, 0]).view(1, 1, 3)) for block in ("layer1.0", "layer2.0")}
    answers = interventions.scores(model, clips(), maps)
    torch.testing.assert_close(answers, plain(clips()))
    assert not torch.allclose(answers, model(clips()), atol=1e-3)


def test_each_clip_gets_the_map_of_its_own_row(in_parts):
    """With the maps of another clip a clip is scored as if it were alone with these maps."""
    model = network()
    maps = interventions.maps_of(model, clips(seed=1))
    together = interventions.scores(model, clips(), maps)
    for index in range(5):
        own = {block: (V[index : index + 1], W[index : index + 1]) for block, (V, W) in maps.items()}
        torch.testing.assert_close(interventions.scores(model, clips()[index : index + 1], own), together[index, None])


def test_a_block_that_is_not_named_computes_its_own_map_from_what_it_gets():
    model = network()
    maps = interventions.maps_of(model, clips(seed=1))
    first_alone = interventions.scores(model, clips(), {"layer1.0": maps["layer1.0"]})
    assert not torch.allclose(first_alone, interventions.scores(model, clips(), maps), atol=1e-4)
    assert not torch.allclose(first_alone, model(clips()), atol=1e-4)


def test_a_branch_that_is_left_alone_computes_its_map_from_the_changed_features():
    """Else what the change takes away would come back through the other branch's maps of the unchanged network."""
    model, seen = network(), []
    maps = interventions.maps_of(model, clips())
    only_W = {block: (None, maps_W.flip(2)) for block, (_, maps_W) in maps.items()}
    model.layer2[0].temporal.local_branch.register_forward_hook(lambda module, inputs, V: seen.append(V))
    interventions.scores(model, clips(), only_W)
    assert not torch.allclose(seen[-1], maps["layer2.0"][0], atol=1e-4)


def test_the_network_is_as_it_was_also_after_an_error():
    model = network()
    before, maps = model(clips()), interventions.maps_of(model, clips(seed=1))
    interventions.scores(model, clips(), maps)
    model.fc.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        interventions.scores(model, clips(), maps)
    model.fc._forward_pre_hooks.clear()
    assert torch.equal(model(clips()), before)


def test_accuracy_counts_right_clips_under_a_change_of_chosen_blocks():
    model = network()
    maps = interventions.maps_of(model, clips())
    swapped = {block: (V, W.flip(2)) for block, (V, W) in maps.items()}
    swap = lambda V, W: (V, W.flip(2))  # noqa: E731
    for blocks in (["layer1.0"], ["layer2.0"], None):
        chosen = {block: swapped[block] for block in blocks or maps}
        labels = interventions.scores(model, clips(), chosen).argmax(1)
        labels[0] = (labels[0] + 1) % 3
        for known in (None, maps):
            assert interventions.accuracy(model, clips(), labels, swap, blocks, known) == pytest.approx(80)


def test_the_changes_are_what_their_names_say():
    V, W = torch.rand(6, 2, 4), torch.rand(6, 2, 3).softmax(2)
    changed = {name: change(V, W) for name, change in interventions.CHANGES.items()}
    for name, (new_V, new_W) in changed.items():
        assert (new_V is not None) == name.startswith("V "), name
        assert (new_W is not None) == name.startswith(("W ", "V and W ")), name
    for name, part, expected in (
        ("V by its mean over the clips", 0, sum(V) / 6),
        ("W by its mean over the clips", 1, sum(W) / 6),
        ("V and W by their means", 0, sum(V) / 6),
        ("V and W by their means", 1, sum(W) / 6),
    ):
        torch.testing.assert_close(changed[name][part][0], expected)
    torch.testing.assert_close(changed["V by its mean over time"][0][..., 0], V.sum(2) / 4)
    for name, part, own in (("V by another clip's", 0, V), ("W by another clip's", 1, W)):
        others = changed[name][part]
        assert not any(torch.equal(a, b) for a, b in zip(others, own)), "no clip has its own"
        assert sorted(others[:, 0, 0].tolist()) == sorted(own[:, 0, 0].tolist()), "each map is used once"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"layer3.0": (1, 1)}, "no TAM in layer3.0; it has: layer1.0, layer2.0"),
        ({"layer1.0": ((5, 8, 3), (5, 8, 3))}, r"V of layer1.0 must be \[5, 8, 4\] or 1, got \[5, 8, 3\]"),
        ({"layer1.0": ((5, 8, 4), (4, 8, 3))}, r"W of layer1.0 must be \[5, 8, 3\] or 1, got \[4, 8, 3\]"),
        ({"layer1.0": ((8, 4), (5, 8, 3))}, r"V of layer1.0 must be \[5, 8, 4\] or 1, got \[8, 4\]"),
    ],
)
def test_maps_that_do_not_fit_are_refused(changes, message):
    maps = {block: (torch.ones(V), torch.ones(W)) for block, (V, W) in changes.items()}
    with pytest.raises(ValueError, match=message):
        interventions.scores(network(), clips(), maps)


def test_networks_without_maps_and_networks_in_training_are_refused():
    with pytest.raises(ValueError, match="no TAM"):
        interventions.maps_of(network("none"), clips())
    with pytest.raises(ValueError, match=r"call eval\(\) first"):
        interventions.scores(network().train(), clips(), {})


def test_a_deleted_frame_is_filled_by_the_one_before_it():
    numbers = torch.arange(5).expand(4, 5)
    without = interventions.without_frame(numbers, torch.tensor([0, 1, 3, 4]))
    assert without.tolist() == [[1, 1, 2, 3, 4], [0, 0, 2, 3, 4], [0, 1, 2, 2, 4], [0, 1, 2, 3, 3]]
    assert numbers.tolist() == [[0, 1, 2, 3, 4]] * 4
