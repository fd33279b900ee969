"""The projection head of DeSD and DINO: pooled features (B, F) to prototype logits (B, K)."""

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize


class ProjectionHead(nn.Module):
    """Three linear layers, then the cosine with each of K prototypes (DINO, ICCV 2021; DeSD).

    Linear(F, hidden), GELU, Linear(hidden, hidden), GELU, Linear(hidden, bottleneck), L2
    normalisation, weight-normalised linear layer without bias. Linear weights start from a normal
    of standard deviation 0.02 cut at +-2, their biases at 0; the prototypes as nn.Linear's.

    Differs from the authors' code: `norm_last_layer` has an effect; theirs reads the option and
    always freezes the norms. Normalisation and cosines are computed in the parameters' precision
    (float32) under autocast too.

    Args:
        in_features: F.
        out_dim: K, the number of prototypes.
        use_bn: whether a batch norm follows the first two linear layers. It uses the statistics
            of the batch while the module is in training mode.
        norm_last_layer: whether the norms of the prototypes stay at 1; the logits are cosines
            then. If not, they are learned.
        hidden: width of the hidden layers.
        bottleneck: width of the normalised vector.
    """

    def __init__(self, in_features: int, out_dim: int, use_bn: bool = False,
                 norm_last_layer: bool = True, hidden: int = 2048, bottleneck: int = 256):
        super().__init__()
        layers: list[nn.Module] = []
        for before in (in_features, hidden):
            layers.append(nn.Linear(before, hidden))
            if use_bn:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.GELU())
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, a=-2.0, b=2.0)
                nn.init.zeros_(layer.bias)
        self.last_layer = WeightNormLinear(bottleneck, out_dim, learn_norm=not norm_last_layer)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, F) to logits (B, K), row by row."""
        vectors = self.mlp(features)
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors.to(self.last_layer.weight_v.dtype)
            return self.last_layer(normalize(vectors, dim=-1, eps=1e-12))


class WeightNormLinear(nn.Module):
    """Linear layer without bias whose row k is weight_g[k] * weight_v[k] / |weight_v[k]|.

    Args:
        learn_norm: whether weight_g is trained; it starts at 1.
    """

    def __init__(self, in_features: int, out_features: int, learn_norm: bool):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(out_features, 1), requires_grad=learn_norm)
        self.weight_v = nn.Parameter(torch.empty(out_features, in_features))
        bound = 1 / math.sqrt(in_features)  # as nn.Linear
        nn.init.uniform_(self.weight_v, -bound, bound)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(B, in_features) to (B, out_features)."""
        return weight_norm_product(vectors, self.weight_v, self.weight_g)


def weight_norm_product(vectors: torch.Tensor, weight_v: torch.Tensor,
                        weight_g: torch.Tensor) -> torch.Tensor:
    """vectors @ (weight_g * weight_v / |weight_v|)^T, the norm per row of weight_v.

    Args:
        vectors: (B, F).
        weight_v: (K, F).
        weight_g: (K, 1).

    Returns:
        (B, K); the gradient with respect to it can be taken once.
    """
    return _WeightNormProduct.apply(vectors, weight_v, weight_g)


class _WeightNormProduct(torch.autograd.Function):
    """The product scaled per column: no normalised (K, F) weight is made, forward or backward.

    With tens of thousands of prototypes and a batch of 4 to 64 rows, passes over (K, F) are what
    the layer costs. This takes two forward (norm, product) and two backward, half the time of
    torch's weight norm; at 256 rows the two are alike.
    """

    @staticmethod
    def forward(ctx: Any, vectors: torch.Tensor, weight_v: torch.Tensor,
                weight_g: torch.Tensor) -> torch.Tensor:
        inverse = torch.linalg.vector_norm(weight_v, dim=1).reciprocal()
        products = vectors @ weight_v.T
        ctx.save_for_backward(vectors, weight_v, weight_g, inverse, products)
        return products * (weight_g[:, 0] * inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        vectors, weight_v, weight_g, inverse, products = ctx.saved_tensors
        grad_vectors = grad_v = grad_g = None
        with torch.autocast(grad.device.type, enabled=False):
            scale = weight_g[:, 0] * inverse
            scaled = grad * scale
            if ctx.needs_input_grad[0]:
                grad_vectors = scaled @ weight_v
            if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
                grad_scale = (grad * products).sum(0)
                grad_g = (grad_scale * inverse)[:, None]
            if ctx.needs_input_grad[1]:  # through the product, and through the norm of each row
                through_norm = -grad_scale * scale * inverse.square()
                grad_v = (weight_v * through_norm[:, None]).addmm_(scaled.T, vectors)
        return grad_vectors, grad_v, grad_g
