"""MONAI's four U-shaped networks with their levels named."""
