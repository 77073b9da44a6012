"""A run tested by every protocol of its recipe."""

import json

from tanet import evaluate
from tanet.checkpoint import read


def test_each_protocol_of_the_run_s_recipe_is_tested_and_its_result_is_beside_the_run(
    trained_run, something_root, linked
):
    run = linked(trained_run)  # results are written into it
    protocols = read(run / "checkpoints/last.pth").recipe.protocols
    results = evaluate.run_protocols(run, something_root, subset=2)
    assert tuple(results) == protocols
    for protocol, result in results.items():
        assert result["protocol"] == protocol and result["tested"] == 2
        stored = json.loads((run / f"result-{protocol}.json").read_text())
        assert stored["top1"] == result["top1"] and len(stored["per_video"]) == 2
