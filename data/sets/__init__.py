"""Which cases there are: data sets, their layouts and labels, splits, augmentations."""
