"""Runs as MONAI bundles, ONNX and safetensors."""
