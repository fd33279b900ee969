"""Made data in the layouts of the real sets."""
