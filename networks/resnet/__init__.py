"""DeSD's 3D ResNet, its projection head, and the U-net on it."""
