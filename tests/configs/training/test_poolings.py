"""nnU-Net's rule for levels, against what its own planner gives and numbers made by hand."""

from configs.training.poolings import divisor_of, filters_of, nnunet_levels


def test_hippocampus_has_the_levels_that_nnunet_gives_it():
    """35 -> 18 -> 9 -> 5 and 50 -> 25 -> 13 -> 7, which are not halved once more."""
    strides, kernels = nnunet_levels((35, 50, 35), (1, 1, 1))
    assert strides == [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
    assert kernels == [(3, 3, 3)] * 4
    assert divisor_of(strides) == (8, 8, 8)


def test_a_coarse_axis_waits_until_the_others_are_as_coarse():
    """Voxels of 0.6 mm are 1.2, 2.4, 4.8 mm wide: less than twice from 3.6 mm at 2.4 on."""
    strides, kernels = nnunet_levels((320, 320, 20), (0.6, 0.6, 3.6))
    assert strides == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]
    assert kernels == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert divisor_of(strides) == (16, 16, 4)


def test_an_axis_of_few_voxels_is_not_halved():
    strides, _ = nnunet_levels((64, 64, 7), (1, 1, 1))
    assert strides == [(1, 1, 1), *[(2, 2, 1)] * 4]  # 64 -> 32 -> 16 -> 8 -> 4
    assert nnunet_levels((11, 4, 4), (1, 1, 1))[0] == [(1, 1, 1)]  # alone it needs 12
    assert nnunet_levels((12, 4, 4), (1, 1, 1))[0] == [(1, 1, 1), (2, 1, 1)]


def test_no_more_levels_than_published():
    assert len(nnunet_levels((512, 512, 512), (1, 1, 1))[0]) == 5


def test_a_size_that_stays_is_halved_while_it_is_even():
    assert divisor_of(nnunet_levels((40, 56, 40), (1, 1, 1), exact=True)[0]) == (8, 8, 8)
    assert divisor_of(nnunet_levels((36, 36, 36), (1, 1, 1), exact=True)[0]) == (4, 4, 4)
    assert nnunet_levels((35, 35, 35), (1, 1, 1), exact=True)[0] == [(1, 1, 1)]


def test_filters_double_up_to_the_published_320():
    assert filters_of(5) == (32, 64, 128, 256, 320)
    assert filters_of(3) == (32, 64, 128)


def test_strides_may_be_numbers():
    assert divisor_of((1, 2, (1, 2, 2), 2)) == (4, 8, 8)
