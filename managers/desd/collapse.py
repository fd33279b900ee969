"""Signs of collapse in pre-training, from the teacher's targets and features."""

import math
from collections.abc import Mapping

import torch
from torch.nn.functional import normalize

# Limits that separate small runs made to collapse from healthy or untrained networks, the latter
# of depth 10 to 200 with 60000 prototypes.
UNIFORM_ENTROPY = 0.999     # of log K; untrained and centred up to 0.9983, collapsed from 0.9998
UNIFORM_KL = 0.01           # nats; at the start of a training above 0.3, collapsed below 0.003
LEAST_INFORMATION = 0.001   # nats; untrained from 0.018, collapsed below 0.0001
LEAST_FEATURE_STD = 0.01    # of 1 / sqrt(w); untrained from 0.12
LARGEST_CENTER = 0.5        # of sqrt(K); healthy up to 0.17


def feature_moments(features: torch.Tensor) -> torch.Tensor:
    """Mean and mean square of L2-normalised features over the rows, per dimension.

    Average them over the steps and processes of an epoch before `feature_std`: a single step has
    too few rows. Features (N, w) give (2, w) in float64 on their device.
    """
    unit = normalize(features.double(), dim=1)
    return torch.stack([unit.mean(dim=0), unit.square().mean(dim=0)])


def feature_std(moments: torch.Tensor) -> torch.Tensor:
    """How much L2-normalised features differ: their standard deviation, averaged over dimensions.

    About 1 / sqrt(w) for features spread evenly over the sphere, 0 if all are the same; from the
    (2, w) of `feature_moments`.
    """
    mean, mean_square = moments
    return (mean_square - mean.square()).clamp(min=0).sqrt().mean()


def signs_of_collapse(stats: Mapping[str, float], out_dim: int, feature_width: int) -> list[str]:
    """One sentence for each sign of collapse in the means of an epoch.

    There are two ways to collapse: uniform targets, from centring alone, and the same target for
    every sample, from sharpening alone (DINO, ICCV 2021). The information of the targets shows
    both; low entropy shows neither, since easy data have confident targets too. It is computed
    over the samples of a step, so a step must hold two or more.

    Args:
        stats: "teacher_entropy", "kl", "target_information" (nats) and "center_norm", mean terms
            of losses.DeSDLoss, and "feature_std".
        out_dim: K, number of prototypes.
        feature_width: w, of the encoder's deepest features.
    """
    most = math.log(out_dim)
    entropy, kl, information = stats["teacher_entropy"], stats["kl"], stats["target_information"]
    spread = stats["feature_std"] * math.sqrt(feature_width)
    signs = []
    if entropy > UNIFORM_ENTROPY * most and kl < UNIFORM_KL:
        signs.append(f"The teacher's targets are uniform (entropy {entropy:.4f} of at most "
                     f"{most:.4f} nats, KL {kl:.4f}): nothing is left to learn. Lower the "
                     f"teacher's temperature or the learning rate, or use batch norm in the heads "
                     f"and larger batches.")
    elif information < LEAST_INFORMATION:
        signs.append(f"The teacher gives every sample the same target ({information:.1e} nats "
                     f"tell samples apart, entropy {entropy:.4f} of at most {most:.4f}). Check "
                     f"that the centre moves; raise the teacher's temperature, lower the learning "
                     f"rate, or use batch norm in the heads and larger batches.")
    if spread < LEAST_FEATURE_STD:
        signs.append(f"The encoder's features hardly differ between samples (standard deviation "
                     f"{spread:.1e} times that of features spread evenly). Lower the learning "
                     f"rate, and check that the volumes are not all alike.")
    if stats["center_norm"] > LARGEST_CENTER * math.sqrt(out_dim):
        signs.append(f"The centre's norm, {stats['center_norm']:.1f}, is more than half the "
                     f"norm of logits that are all 1, {math.sqrt(out_dim):.1f}: one direction "
                     f"dominates the logits. Lower the learning rate.")
    return signs
