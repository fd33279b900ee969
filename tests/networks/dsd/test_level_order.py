"""Levels are named along the data flow, so that the last one of a branch is its teacher."""

import warnings

import pytest
from torch import nn

from networks import find_levels


class Halving(nn.Module):
    """Levels e1, e2, mid, d2, d1 at 1, 1/2, 1/4, 1/2, 1; two convolutions of one size each."""

    def __init__(self):
        super().__init__()
        for name in ("e1", "e2", "mid", "mid2", "d2", "d1", "d0"):
            setattr(self, name, nn.Conv3d(1, 1, 1))
        self.out, self.pool, self.up = nn.Conv3d(1, 2, 1), nn.AvgPool3d(2), nn.Upsample(None, 2)

    def forward(self, images):
        e2 = self.e2(self.pool(self.e1(images)))
        d2 = self.d2(self.up(self.mid2(self.mid(self.pool(e2)))))
        return self.out(self.d0(self.d1(self.up(d2))))


@pytest.mark.parametrize(("names", "branch", "right"), [
    ({"decoder": ["d2", "mid"]}, "decoder", ["mid", "d2"]),
    ({"decoder": ["d1", "d2", "mid"]}, "decoder", ["mid", "d2", "d1"]),
    ({"decoder": ["mid", "d1", "d2"]}, "decoder", ["mid", "d2", "d1"]),
    ({"encoder": ["e2", "e1"]}, "encoder", ["e1", "e2"]),
    ({"decoder": ["mid2", "mid", "d2"]}, "decoder", ["mid", "mid2", "d2"]),  # of one size
    ({"decoder": ["mid", "d0", "d1"]}, "decoder", ["mid", "d1", "d0"]),
])
def test_levels_against_the_data_flow_are_refused_with_the_right_order(names, branch, right):
    names = {"encoder": ["e1", "e2"], "decoder": ["mid", "d2"]} | names
    with pytest.raises(ValueError, match="along the data flow") as refused:
        find_levels(Halving(), 1, (4, 4, 4), **names)
    assert f"{names[branch][-1]!r} would be the teacher" in str(refused.value)
    assert f"the right order is {branch}={right}" in str(refused.value)
    found = find_levels(Halving(), 1, (4, 4, 4), **names | {branch: right})
    levels = {"encoder": found.encoder, "decoder": found.decoder}[branch]
    assert [level.module for level in levels] == right


@pytest.mark.parametrize(("decoder", "words"), [
    (["mid", "d2"], "'mid', its teacher, is a level of the decoder too"),
    (["d2", "d1"], "'mid', its teacher, is coarser than 'd2', where the decoder begins")])
def test_an_encoder_that_ends_with_the_bottleneck_is_warned_of(decoder, words):
    with pytest.warns(UserWarning, match=rf"{words}.*encoder=\['e1', 'e2'\]"):
        find_levels(Halving(), 1, (4, 4, 4), encoder=["e1", "e2", "mid"], decoder=decoder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_levels(Halving(), 1, (4, 4, 4), encoder=["e1", "e2"], decoder=decoder)
