"""DeSD pre-training, from settings to the teacher's encoder."""
