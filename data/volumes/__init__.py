"""From cases to crops: transforms, the cache of prepared volumes, loaders."""
