"""The noisy case of the benchmark of surface metrics."""

import numpy as np

from benchmarks.table import surface_metrics


def test_both_sides_give_the_same_values_on_a_case_with_every_class():
    prediction, label = surface_metrics.noisy_case((32, 30, 28))
    classes = range(len(surface_metrics.NAMES))
    assert np.unique(prediction).tolist() == np.unique(label).tolist() == list(classes)
    ours = surface_metrics.our_values(prediction, label)
    assert ours.shape == (7, 2) and (ours > 0).all()
    np.testing.assert_allclose(ours, surface_metrics.monai_values(prediction, label),
                               atol=surface_metrics.TOLERANCE_MM)
