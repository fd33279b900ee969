"""What lies between the two passes of losses.fused.triton_kernels: sums to terms, terms to slopes.

The formulas are those of losses.fused.plan; as Triton kernels they take one launch each, not some
twenty. Numbers are float64, as the sums.

Arguments of both kernels:
    found: sums of each sample, (batch, ROW), see losses.fused.triton_passes.sums.
    alpha: weight of the KL in the total.
    num_voxels: of all samples together.
"""

# ruff: noqa: N803, N806  (Triton's constants are in capitals, as everywhere)

import triton
import triton.language as tl


@triton.jit
def terms_kernel(found, terms, total, batch, num_voxels, alpha, temperature,
                 SMOOTH: tl.constexpr, K: tl.constexpr, NUM_SUPERVISED: tl.constexpr,
                 NUM_BRANCHES: tl.constexpr, ROW: tl.constexpr, PADDED: tl.constexpr):
    """Dice-CE of each supervised head, then KL of each branch, and their total; one program."""
    whole = tl.full((), 0.0, tl.float64)
    for term in range(NUM_SUPERVISED):
        dice = tl.zeros((PADDED,), tl.float64)
        entropy = tl.full((), 0.0, tl.float64)
        for sample in range(batch):
            row = found + sample * ROW
            overlap, volume, known = _overlap_and_volume(row, term, SMOOTH, K, NUM_SUPERVISED,
                                                         PADDED)
            dice += tl.where(known, 1 - overlap / volume, 0.0)
            entropy += tl.load(row + (2 * NUM_SUPERVISED + 1) * K + term)
        value = tl.sum(dice, 0) / (batch * K) + entropy / num_voxels
        tl.store(terms + term, value.to(tl.float32))
        whole += value
    for branch in range(NUM_BRANCHES):
        kl = tl.full((), 0.0, tl.float64)
        for sample in range(batch):
            kl += tl.load(found + sample * ROW + (2 * NUM_SUPERVISED + 1) * K + NUM_SUPERVISED
                          + branch)
        kl *= temperature * temperature / num_voxels
        tl.store(terms + NUM_SUPERVISED + branch, kl.to(tl.float32))
        whole += alpha * kl
    tl.store(total, whole.to(tl.float32))


@triton.jit
def slopes_kernel(found, by_total, by_terms, slopes, batch, num_voxels, alpha, temperature,
                  HAS_TOTAL: tl.constexpr, HAS_TERMS: tl.constexpr, SMOOTH: tl.constexpr,
                  K: tl.constexpr, NUM_SUPERVISED: tl.constexpr, ROW: tl.constexpr,
                  PADDED: tl.constexpr):
    """losses.fused.plan.Slopes in their order, float32; a program for each term.

    `by_total` and `by_terms` are gradients of whatever, HAS_... whether there are such.
    """
    term = tl.program_id(0)
    upstream = tl.full((), 0.0, tl.float64)
    if HAS_TOTAL:
        upstream += tl.load(by_total).to(tl.float64) * tl.where(term < NUM_SUPERVISED, 1.0, alpha)
    if HAS_TERMS:
        upstream += tl.load(by_terms + term).to(tl.float64)
    by_class = NUM_SUPERVISED * batch * K
    if term < NUM_SUPERVISED:
        by_dice = upstream / (batch * K)
        for sample in range(batch):
            overlap, volume, known = _overlap_and_volume(found + sample * ROW, term, SMOOTH, K,
                                                         NUM_SUPERVISED, PADDED)
            at = slopes + (term * batch + sample) * K + tl.arange(0, PADDED)
            tl.store(at, (-2 * by_dice / volume).to(tl.float32), mask=known)
            tl.store(at + by_class, (by_dice * overlap / (volume * volume)).to(tl.float32),
                     mask=known)
        tl.store(slopes + 2 * by_class + term, (upstream / num_voxels).to(tl.float32))
    else:
        tl.store(slopes + 2 * by_class + term, (upstream * temperature / num_voxels).to(tl.float32))


@triton.jit
def _overlap_and_volume(row, term, SMOOTH: tl.constexpr, K: tl.constexpr,
                        NUM_SUPERVISED: tl.constexpr, PADDED: tl.constexpr):
    """Numerator and denominator of each class's Dice (PADDED,), and which classes there are."""
    classes = tl.arange(0, PADDED)
    known = classes < K
    overlap = tl.load(row + term * K + classes, mask=known, other=0.0)
    size = tl.load(row + (NUM_SUPERVISED + term) * K + classes, mask=known, other=0.0)
    count = tl.load(row + 2 * NUM_SUPERVISED * K + classes, mask=known, other=0.0)
    return 2 * overlap + SMOOTH, size + count + SMOOTH, known
