"""The two decoders of video files; tests of decord are skipped where it has no wheel."""

import pytest

from tanet.data.probing import load_decord

needs_decord = pytest.mark.skipif(load_decord() is None, reason="decord is not installed here")
DECODERS = [pytest.param("decord", marks=needs_decord), "pyav"]
