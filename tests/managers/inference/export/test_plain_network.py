"""The networks as MONAI's own classes."""

import pytest
import torch
from monai.bundle import ConfigParser

from managers.inference.export.plain_network import stock_definition
from networks import build_network

NETWORKS = {
    "unetr": ((16, 32, 16), {"feature_size": 4, "hidden_size": 24, "mlp_dim": 20, "num_heads": 2}),
    "swinunetr": ((64, 32, 32), {"feature_size": 12}),
    "nnunet": ((8, 16, 16), {"filters": (2, 3, 4), "kernel_size": ((1, 3, 3), 3, 3),
                             "strides": (1, (1, 2, 2), 2)}),
    "vnet": ((32, 16, 16), {}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_monais_network_has_the_same_weights_and_logits(name):
    size, options = NETWORKS[name]
    network = build_network(name, 2, 3, size, True, **options).eval()
    definition = stock_definition(name, network, 2, size)
    stock = ConfigParser({"network": definition}).get_parsed_content("network").eval()
    assert type(stock).__module__.startswith("monai.")
    missing, unexpected = stock.load_state_dict(network.network.state_dict(), strict=False)
    assert not unexpected and all(".cross_attn." in key for key in missing)
    image = torch.randn(1, 2, *size)
    with torch.no_grad():
        assert torch.equal(stock(image), network(image))


@pytest.mark.parametrize("name, size, options, message", [
    ("nnunet", (12, 12, 12), {"filters": (2, 3, 4), "strides": (1, 3, 2)}, "are above 2"),
    ("swinunetr", (64, 32, 32), {"feature_size": 12, "legacy_patch_merging": True},
     "--legacy_patch_merging is not in MONAI's"),
    ("resnet10-unet", (32, 32, 32), {}, "is no network of MONAI's"),
])
def test_what_monai_has_not_is_refused(name, size, options, message):
    network = build_network(name, 1, 2, size, **options)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        stock_definition(name, network, 1, size)
