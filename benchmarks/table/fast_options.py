"""A whole training step with each option for speed against plain float32, and with --fast.

Both sides are DSD steps of the training scripts' own manager, from the same weights and crops.
"""

import torch

from benchmarks.measure import paired, peak_growth_mib
from benchmarks.table.rows import Row
from configs import training_config
from data import DATASETS
from losses import DSDLoss
from managers import manager_of, network_of, optimizer_of, settled
from managers.compute.precision import cpu_has_bf16

CROPS = 2
TARGET = {"cpu": 1.0, "cuda": 3.0}
# On a CPU the small recipes, for the clock's sake; compiling takes longer than all the rest there.
DATASET = {"cpu": "hippocampus", "cuda": "mmwhs-ct"}
OPTIONS = {"cpu": ("--fused", "--channels_last", "--amp bf16"),
           "cuda": ("--fused", "--channels_last", "--tf32", "--amp bf16", "--amp fp16")}
NETWORKS = {"cpu": ("nnunet", "unetr", "vnet"), "cuda": ("nnunet", "unetr")}  # compiling is slow
TINY = {"nnunet": ("--filters", "4", "8", "8"), "unetr": ("--feature_size", "2"), "vnet": ()}


def config_of(name: str, device: str, *flags: str, method: str = "dsd"):
    """The settings of a run on that device."""
    line = ["DATA", "_", "--dataset", DATASET[device], "--network", name, *flags]
    return settled(training_config(method, line), torch.device(device))


def step_of(name: str, device: str, *flags: str, method: str = "dsd", crops: int = CROPS):
    """A function that trains one step."""
    torch.manual_seed(0)
    config = config_of(name, device, *flags, method=method)
    dataset = DATASETS[DATASET[device]]
    network = network_of(config)
    manager = manager_of(config, network, optimizer_of(network, config), DSDLoss(),
                         dataset.class_names)
    manager.to(torch.device(device))
    manager.model.train()
    images = torch.randn(crops, len(dataset.channels), *config.img_size)
    label = torch.randint(0, dataset.num_classes, (crops, 1, *config.img_size))
    batch = {"image": images.to(device), "label": label.to(device)}
    return lambda: manager.train_step(*manager.unpack_data(batch))


def _speed(name: str, device: str, quick: bool) -> Row:
    tiny = TINY[name] if quick else ()
    plain, size = step_of(name, device, *tiny), config_of(name, device).img_size
    used = config_of(name, device, "--fast")

    def gain(*flags: str) -> dict:
        return paired(plain, step_of(name, device, *flags, *tiny), pairs=1 if quick else 4,
                      device=device)

    fast = gain("--fast")
    tried = [option for option in OPTIONS[device]
             if option != "--amp bf16" or device != "cpu" or cpu_has_bf16()]
    alone = {} if quick else {
        option: fast if config_of(name, device, *option.split()) == used
        else gain(*option.split()) for option in tried}
    chosen = [f"--amp {used.amp}"] + [f"--{option}" for option in
                                      ("compile", "channels_last", "fused", "tf32")
                                      if getattr(used, option)]
    note = "; ".join(["here " + " ".join(chosen),
                      *(f"{option} {found['ratio']:.2f}" for option, found in alone.items())])
    return Row(f"{name} {size[0]}^3, whole training step, --fast, against plain float32",
               fast["ratio"], TARGET[device], better="high", note=note,
               details={"--fast": fast} | alone)


def _swin_step(device: str, *flags: str):
    # Basic: side heads have volumes of their own, which it says nothing about.
    return step_of("swinunetr", device, *flags, method="basic", crops=1)


def _peak_mib(device: str, *flags: str) -> float:
    """Memory that a training step of SwinUNETR on one crop takes beyond weights and batch."""
    if device == "cpu":
        return peak_growth_mib(_swin_step, device, *flags)
    step = _swin_step(device, *flags)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    step()
    step()
    return (torch.cuda.max_memory_allocated() - start) / 2**20


def _memory(device: str, quick: bool) -> Row:
    edge = "64" if quick else "96"
    flags = ("--img_size", edge, edge, edge, "--feature_size", "12")
    kept, recomputed = _peak_mib(device, *flags), _peak_mib(device, *flags, "--use_checkpoint")
    return Row(f"swinunetr {edge}^3, basic, peak memory of a step, --use_checkpoint against plain",
               recomputed / kept, 1.0, note=f"{kept:.0f} -> {recomputed:.0f} MiB",
               details={"kept_mib": kept, "recomputed_mib": recomputed})


def rows(device: str, quick: bool) -> list[Row]:
    """A row for each network, and one for SwinUNETR's memory."""
    found = []
    for name in NETWORKS[device]:
        found.append(_speed(name, device, quick))
    return [*found, _memory(device, quick)]
