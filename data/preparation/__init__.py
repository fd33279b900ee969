"""From DeepLesion or any CT to tiles for pre-training."""
