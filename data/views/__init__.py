"""From tiles to the views that DeSD trains on."""
