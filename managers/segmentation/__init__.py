"""Training of a segmentation network, from settings to the scored run."""
