"""GPUs for --estimate, as their makers describe them."""

from typing import NamedTuple


class Gpu(NamedTuple):
    """Figures of a data sheet, without sparsity and at boost clock.

    Attributes:
        name: in words.
        memory_gb: in units of 10^9 bytes.
        gb_per_s: of its memory.
        half: TFLOP/s of tensor cores in bf16 or fp16, sums in float32.
        tf32: TFLOP/s of tensor cores in TensorFloat-32; where it has none, as float32.
        single: TFLOP/s in float32.
        has_bf16: whether tensor cores take it.
    """

    name: str
    memory_gb: float
    gb_per_s: float
    half: float
    tf32: float
    single: float
    has_bf16: bool = True


GPUS = {
    # NVIDIA H100, H200, A100, V100, L40S, RTX A6000 data sheets; Ada and GA102 architecture papers.
    "h100": Gpu("H100 SXM", 80, 3350, 989, 494, 67),
    "h100-pcie": Gpu("H100 PCIe", 80, 2000, 756, 378, 51),
    "h200": Gpu("H200 SXM", 141, 4800, 989, 494, 67),
    "a100": Gpu("A100 SXM 80 GB", 80, 2039, 312, 156, 19.5),
    "a100-40": Gpu("A100 SXM 40 GB", 40, 1555, 312, 156, 19.5),
    "v100": Gpu("V100 SXM2 32 GB", 32, 900, 125, 15.7, 15.7, has_bf16=False),
    "l40s": Gpu("L40S", 48, 864, 362, 183, 91.6),
    "a6000": Gpu("RTX A6000", 48, 768, 154.8, 77.4, 38.7),
    "rtx4090": Gpu("RTX 4090", 24, 1008, 165.2, 82.6, 82.6),
    "rtx3090": Gpu("RTX 3090", 24, 936, 71, 35.6, 35.6),
}
