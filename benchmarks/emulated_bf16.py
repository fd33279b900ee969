"""What --amp bf16 does to a training, shown on a CPU without bf16 instructions.

python -m benchmarks.emulated_bf16 train_basic.py DATA _ --dataset hippocampus --network nnunet

Runs a training script with its network computed in float32 on values rounded to bf16: what
convolutions and matrix products read and give, what norms, activations and sums give, and all
gradients on their way back. Sums inside a convolution are in float32, as in oneDNN and cuDNN.
"""

import runpy
import sys

import torch
from torch.overrides import TorchFunctionMode

import managers.trainer

READ_ROUNDED = {"conv3d", "conv_transpose3d", "linear", "matmul", "__matmul__"}
GIVE_ROUNDED = READ_ROUNDED | {"instance_norm", "batch_norm", "leaky_relu", "elu", "gelu", "prelu",
                               "add", "__add__", "__iadd__"}


def rounded(value: object) -> object:
    """A float32 tensor with the digits of bf16; its gradient is rounded on the way back."""
    is_wide = isinstance(value, torch.Tensor) and value.dtype == torch.float32
    return value.bfloat16().float() if is_wide else value


class Rounded(TorchFunctionMode):
    """Rounds where autocast would."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name in READ_ROUNDED:
            args = tuple(map(rounded, args))
            kwargs = {key: rounded(value) for key, value in kwargs.items()}
        result = function(*args, **kwargs)
        return rounded(result) if name in GIVE_ROUNDED else result


if __name__ == "__main__":
    managers.trainer.autocast = lambda device, amp: Rounded()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
