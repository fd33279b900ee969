"""Student and teacher of the deep self-distillation pre-training (DeSD, MICCAI 2022)."""

import copy
from itertools import groupby

import torch
from torch import nn

from .projection_head import ProjectionHead
from .resnet3d import DEPTHS, ResNet3D, pooled, resnet3d

ARCHS = {f"res3d{depth}": depth for depth in DEPTHS}
"""Name of the encoder to its depth."""

GLOBAL_CROPS = 2


class DeSDStudent(nn.Module):
    """An encoder and a projection head on the pooled features of each of its four stages.

    `head` reads the deepest stage, `head_1` to `head_3` the first three. The state dict begins
    with "backbone.", then "head.", then the others, as the authors' does.

    Differs from the authors' code: the heads are as wide as the encoder's stages, at every depth;
    theirs are fixed to the widths of a ResNet-50.

    Args:
        backbone: the encoder.
        out_dim: K, the number of prototypes.
        use_bn: whether the heads have batch norms.
        norm_last_layer: whether the prototypes keep norm 1.
    """

    def __init__(self, backbone: ResNet3D, out_dim: int, use_bn: bool = False,
                 norm_last_layer: bool = True):
        super().__init__()
        self.backbone = backbone
        first, second, third, deepest = backbone.widths[1:]
        self.head = ProjectionHead(deepest, out_dim, use_bn, norm_last_layer)
        self.head_1 = ProjectionHead(first, out_dim, use_bn, norm_last_layer)
        self.head_2 = ProjectionHead(second, out_dim, use_bn, norm_last_layer)
        self.head_3 = ProjectionHead(third, out_dim, use_bn, norm_last_layer)

    def forward(self, crops: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits of every crop at the four stages.

        Args:
            crops: V tensors (B, C, D, H, W), the two global ones first.

        Returns:
            Four tensors (V * B, K), shallow to deep; rows are all of crop 0, all of crop 1, ...
        """
        features = crop_features(self.backbone, crops)
        heads = (self.head_1, self.head_2, self.head_3, self.head)
        return [head(vectors) for head, vectors in zip(heads, features, strict=True)]


class DeSDTeacher(nn.Module):
    """The moving average of a student's encoder and deepest head.

    It is never trained by a gradient, and stays in training mode: `eval` and `train(False)` leave
    it as it is. The batch norms of its head so use the statistics of each batch and update their
    own running ones, which are no average of the student's. This is the authors' teacher.

    Args:
        backbone: the encoder.
        head: the head of its last stage.
    """

    def __init__(self, backbone: ResNet3D, head: ProjectionHead):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "DeSDTeacher":
        """Stay in training mode, whatever `mode` is."""
        return super().train(True)

    @torch.no_grad()
    def forward(self, crops: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and features of the two global crops.

        Args:
            crops: tensors (B, C, D, H, W); those after the first two are not read.

        Returns:
            Logits (2 * B, K) and pooled features of the last stage (2 * B, F); rows are all of
            crop 0, then all of crop 1.
        """
        features = crop_features(self.backbone, crops[:GLOBAL_CROPS])[-1]
        return self.head(features), features


def crop_features(backbone: ResNet3D, crops: list[torch.Tensor]) -> list[torch.Tensor]:
    """Pooled features of the four stages, crops of the same size passed together.

    Args:
        crops: V tensors (B, C, D, H, W); neighbours in the list of the same size are one batch.

    Returns:
        Four tensors (V * B, w), shallow to deep; rows in the order of the crops.
    """
    batches = [torch.cat(list(group)) for _, group in groupby(crops, lambda crop: crop.shape[1:])]
    features = [pooled(backbone(batch)[1:]) for batch in batches]
    return [torch.cat(stage) for stage in zip(*features, strict=True)]


def start_teacher(student: DeSDStudent) -> DeSDTeacher:
    """A teacher with a copy of the student's encoder and deepest head, buffers included."""
    return DeSDTeacher(copy.deepcopy(student.backbone), copy.deepcopy(student.head))


def build_desd(arch: str, out_dim: int, use_bn_in_head: bool = False, norm_last_layer: bool = True,
               in_channels: int = 1) -> tuple[DeSDStudent, DeSDTeacher]:
    """A student and the teacher that starts from it.

    Differs from the authors' code: every depth can be trained; theirs has a teacher for res3d50
    alone.

    Args:
        arch: a key of ARCHS.
        out_dim: K, the number of prototypes.

    Raises:
        ValueError: an `arch` that is not known.
    """
    if arch not in ARCHS:
        raise ValueError(f"Unknown arch {arch!r}; known: {', '.join(ARCHS)}.")
    student = DeSDStudent(resnet3d(ARCHS[arch], in_channels), out_dim, use_bn_in_head,
                          norm_last_layer)
    return student, start_teacher(student)
