"""Side outputs: levels, heads, and finding them in any network."""
