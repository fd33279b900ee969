"""A study in numbers, on a page and in a picture."""
