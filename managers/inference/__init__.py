"""From a trained network to label maps and scores; nothing here trains."""
