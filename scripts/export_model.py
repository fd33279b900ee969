"""Write a trained network for use without this project, or to pass on to others who have it.

python scripts/export_model.py --experiment CT.exp --format bundle --output ct_bundle
python scripts/export_model.py --experiment CT.exp --format onnx --output ct.onnx
python scripts/export_model.py --experiment CT.exp --format safetensors --output ct.safetensors
python scripts/export_model.py --experiment CT.exp --format run --output ct_to_share.exp

The network in a bundle or in ONNX is run beside the one of the run before anything is written; of a
run it is said how far its logits are off in half precision.
"""

import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from configs.use.export import export_config  # noqa: E402
from system.exit import exit_with  # noqa: E402 - needs the line above


def main() -> None:
    config = export_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers.inference.export.files import export

    print(export(config).summary())


if __name__ == "__main__":
    exit_with(main)
