"""What tests/gpu does in a process of its own, which keeps the fake GPU once it has one."""

import traceback
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

from configs import pretraining_config, training_config
from losses import DeSDLoss, DiceCELoss
from managers import DeSDManager, build_optimizer, parameter_groups
from managers.compute.fake_gpu.device import GPU, fake_gpu, install, place
from managers.segmentation.estimate import fake_batch, on_fake_gpu
from managers.segmentation.volume_counts import VolumeCounts
from networks import build_desd
from train_SelfDistil_Original import loss_of

TINY = {
    "nnunet": ("--img_size", 32, 32, 32, "--filters", 4, 8, 16, 16),
    "unetr": ("--img_size", 32, 32, 32, "--feature_size", 4, "--network_options",
              "hidden_size=48", "mlp_dim=64", "num_heads=4"),
    "swinunetr": ("--img_size", 64, 64, 64, "--feature_size", 12),
    "vnet": ("--img_size", 32, 32, 32),
    "resnet50-unet": ("--img_size", 64, 64, 32),
}
FLAGS = ("--dataset", "mmwhs-ct", "--fold", 1)


def start():
    """In a new process."""
    torch.set_num_threads(1)
    install()


def call(function, *args, **options):
    """Call a function; of an error the text alone goes back, since some cannot be pickled."""
    try:
        return function(*args, **options)
    except Exception:
        raise AssertionError(traceback.format_exc()) from None


def told(count):
    """What a count has found, as plain values."""
    return {"launches": len(count.kernels), "bytes": count.bytes, "flops": count.flops,
            "peak": count.peak, "waits": count.waits, "refused": dict(count.refused),
            "names": Counter(kernel.name for kernel in count.kernels)}


def run_of(method, network, *flags, processes=None):
    """A run as of the training script's command line, on the fake GPU."""
    config = training_config(method, list(map(str, ("DATA", "_", "--network", network, *FLAGS,
                                                    *flags))))
    loss = loss_of(config) if method == "dsd" else DiceCELoss()
    return on_fake_gpu(config, loss, processes)


def steps(method, network, *flags, number=1, processes=None):
    """What each of some training steps takes."""
    found = []
    with run_of(method, network, *flags, processes=processes) as (manager, count, config):
        for _ in range(number):
            count.start()
            manager.train_step(*manager.unpack_data(fake_batch(config)))
            found.append(told(count))
        if config.channels_last:
            kernels = [p for p in manager.model.parameters() if p.ndim == 5]
            assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in kernels)
        assert all(p.device == GPU for p in manager.model.parameters())
    return found


def validate_and_predict(network, *flags):
    """Validate, then predict, volumes larger than a window; devices of logits and label map."""
    with run_of("dsd", network, *flags) as (manager, _, config):
        size = [voxels + 8 for voxels in config.img_size]
        manager.model.eval(), manager.loss_fn.eval()
        with torch.no_grad():
            volume = {"image": torch.empty(1, 1, *size),
                      "label": torch.empty(1, 1, *size, dtype=torch.uint8)}
            manager.test_step(*manager.unpack_data(volume))
            image = torch.empty(1, *size, device=GPU)
            logits = {slab.device.type for _, slab in manager.predictor.slabs(image)}
            label_map = manager.predictor.label_map(image)
        return logits, tuple(label_map.shape), label_map.device.type


def validate(volumes, *flags):
    """Validate volumes of several windows and chunks; waits of the steps and of the summary."""
    with run_of("basic", "nnunet", *flags) as (manager, count, config):
        size = [2 * voxels for voxels in config.img_size]
        manager.model.eval(), manager.loss_fn.eval()
        count.start()
        for _ in range(volumes):
            volume = {"image": torch.empty(1, 1, *size),
                      "label": torch.empty(1, 1, *size, dtype=torch.uint8)}
            manager.test_step(*manager.unpack_data(volume))
        steps = count.waits
        count.start()
        assert "dice" in manager.summary
        return steps, count.waits


def count_on_both_devices():
    """Where counts are after a slab on the GPU and one on the CPU, and what they waited for."""
    with fake_gpu() as count:
        counts = VolumeCounts(3)
        for device in (GPU, "cpu"):
            counts.add(torch.empty(3, 4, 5, 6, device=device),
                       torch.empty(4, 5, 6, dtype=torch.uint8, device=device))
        return counts.dice.device.type, [name for name, _ in count.waits]


def desd_steps(*flags, processes=None):
    """What each of two DeSD steps takes."""
    config = pretraining_config(["DATA", "LIST", "--output_dir", "x", "--tiny", "--out_dim", "1000",
                                 "--crop_size", "16", "32", "64", "--epochs", "10",
                                 *map(str, flags)])
    student, teacher = build_desd(config.arch, config.out_dim, config.use_bn_in_head,
                                  config.norm_last_layer)
    found = []
    with fake_gpu() as count:
        place(student), place(teacher)
        optimizer = build_optimizer(config.optimizer,
                                    parameter_groups(student, config.weight_decay), config.lr)
        manager = DeSDManager(student, teacher, optimizer, place(DeSDLoss(config.out_dim)), config,
                              4, processes)
        manager.to(GPU)
        torch.use_deterministic_algorithms(True)
        with manager:
            for _ in range(2):
                count.start()
                views = [torch.empty(2, 1, 16, 32, 64) for _ in range(2)]
                views += [torch.empty(2, 1, 16, 64, 32) for _ in range(2)]
                manager.train_step(*manager.unpack_data(views))
                found.append(told(count))
    return found


def small_things():
    """Counts that can be made by hand, of operations on 1000 floats."""
    found = {}
    with fake_gpu() as count:
        numbers, host = torch.empty(1000, device=GPU), torch.empty(1000)
        matrix = torch.empty(10, 20, device=GPU)
        actions = {
            "add": lambda: numbers + numbers.exp(),
            "fill": lambda: numbers.zero_(),
            "view": lambda: numbers.view(10, 100).T[:3],
            "product": lambda: matrix @ matrix.T,
            "item": lambda: numbers.sum().item(),
            "mask": lambda: numbers.index_put((numbers > 0,), numbers),
            "to the host": lambda: numbers.cpu(),
            "to the GPU": lambda: host.to(GPU),
            "to the GPU without waiting": lambda: host.to(GPU, non_blocking=True),
            "on the host": lambda: host + host,
        }
        for name, action in actions.items():
            count.start()
            before = count.alive
            kept = action()
            found[name] = told(count) | {"peak": count.peak - before}
            del kept
        try:
            numbers + host
        except FakeTensorDeviceMismatchError as error:
            found["mixed"] = str(error)
    return found
