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


# Looked up on 2026-11-28 in the documents named, which quote NVIDIA's; those were not at hand.
# Figures that they give with sparsity alone are halved.
GPUS = {
    # "NVIDIA H100 Tensor Core GPU", HPC Tech: 3350 and 2000 GB/s; with sparsity BF16 1979 and 1513,
    # TF32 989 and 756; FP32 67 and 51.
    "h100": Gpu("H100 SXM", 80, 3350, 989, 494, 67),
    "h100-pcie": Gpu("H100 PCIe", 80, 2000, 756, 378, 51),
    # "NVIDIA H200", AI Wiki: memory, and that it computes as the H100 does.
    "h200": Gpu("H200 SXM", 141, 4800, 989, 494, 67),
    # "A100", notes of Glenn K. Lockwood, after NVIDIA's "A100 Tensor Core GPU data sheet".
    "a100": Gpu("A100 SXM 80 GB", 80, 2039, 312, 156, 19.5),
    "a100-40": Gpu("A100 SXM 40 GB", 40, 1555, 312, 156, 19.5),
    # Arithmetic: Markidis et al., "NVIDIA Tensor Core Programmability, Performance & Precision".
    # 900 GB/s: "NVIDIA esitteli Tesla V100 PCI Express -kiihdyttimen", io-tech, of the PCIe card
    # with the same memory. 32 GB: "Nvidia Tesla V100", Grokipedia.
    "v100": Gpu("V100 SXM2 32 GB", 32, 900, 125, 15.7, 15.7, has_bf16=False),
    # "NVIDIA L40/L40S", Mullet, which prints the table of NVIDIA's data sheet.
    "l40s": Gpu("L40S", 48, 864, 362, 183, 91.6),
    # Memory: "NVIDIA RTX A6000 48GB GPU Drops Quadro Designation", ServeTheHome. Half: "Nvidia
    # A6000 GPUs", llmperf.net, after Microway. Single: "NVIDIA RTX A6000 vs NVIDIA Tesla P40",
    # sysrqmts.com. TF32: not found; half of half, as of the A40, which has the same chip.
    "a6000": Gpu("RTX A6000", 48, 768, 154.8, 77.4, 38.7),
    # "NVIDIA GeForce RTX 4090", waredb.com.
    "rtx4090": Gpu("RTX 4090", 24, 1008, 165.2, 82.6, 82.6),
    # "Nvidia GeForce RTX 3090 Specifications", Holy Nerdvana: memory, single, and half with sums
    # in half, 142. Not found for this card: half with sums in float32, here half of that as other
    # GeForce cards with such a chip have it; and TF32, here as single, as of the RTX 3080
    # (NVIDIA/cutlass discussion 390).
    "rtx3090": Gpu("RTX 3090", 24, 936, 71, 35.6, 35.6),
}
