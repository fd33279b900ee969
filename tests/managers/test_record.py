"""What an epoch leaves in the run folder."""

import json
import math
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from managers.callbacks import EpochOrder, Progress, Record
from reports import progress_picture
from system.files import write_text

TRAINING = {"loss": 2.5, "dice_ce_out": 1.5}


@pytest.fixture
def record(tmp_path):
    """record(name, history) -> a Record of a run of 5 epochs in the folder tmp_path/name."""
    made = []

    def make(name="run", history=None):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.125)
        made.append(Record(tmp_path / name, optimizer, 5, [] if history is None else history))
        return made[-1]

    yield make
    for each in made:
        each.on_train_end(None)


def epoch(record, number, summary, val_summary=None):
    """One epoch of two batches."""
    record.on_epoch_start(number)
    for batch in range(2):
        record.on_batch_end(batch, {})
    record.on_epoch_end(number, summary, val_summary)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_log_line_tells_the_main_loss_and_the_time_left(record, monkeypatch):
    ticks = count(step=30)  # an epoch looks at the clock four times
    clock = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr("managers.callbacks.time", clock)  # TensorBoard's thread has the real one
    told = []
    monkeypatch.setattr("managers.callbacks.log.info", told.append)
    epoch(record(), 0, TRAINING, {"dice": 0.5})
    epoch(record("basic"), 4, {"loss": 1.5, "dice_ce_out": 1.5})
    assert told == [
        "epoch   1/5  loss 2.5000  main 1.5000  val_dice 0.5000  lr 1.25e-01  90.0 s, 6 min left",
        "epoch   5/5  loss 1.5000  lr 1.25e-01  90.0 s"]


def test_lines_of_metrics_and_timing(record, tmp_path):
    history = []
    writer = record(history=history)
    epoch(writer, 0, TRAINING, {"dice": 0.5, "loss": 1.0})
    writer.optimizer.param_groups[0]["lr"] = 0.0625
    epoch(writer, 1, TRAINING, {})
    epoch(writer, 2, TRAINING, None)
    expected = [{"epoch": 1, "lr": 0.125, **TRAINING, "val_dice": 0.5, "val_loss": 1.0},
                {"epoch": 2, "lr": 0.0625, **TRAINING}, {"epoch": 3, "lr": 0.0625, **TRAINING}]
    assert lines(tmp_path / "run" / "metrics.jsonl") == expected == history
    timing = lines(tmp_path / "run" / "timing.jsonl")
    assert [list(line) for line in timing] == [["epoch", "train_seconds", "seconds"]] * 3
    assert [line["epoch"] for line in timing] == [1, 2, 3]
    picture = (tmp_path / "run" / "progress.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "data").glob("events.*"))


def test_metrics_do_not_depend_on_the_clock(record, tmp_path, monkeypatch):
    # The second run's clock jumps by an hour at each look.
    epoch(record("now"), 0, TRAINING, {"dice": 0.5})
    monkeypatch.setattr("managers.callbacks.time.perf_counter", count(step=3600).__next__)
    epoch(record("slow"), 0, TRAINING, {"dice": 0.5})
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("now", "slow")]
    assert metrics[0] == metrics[1]
    assert lines(tmp_path / "slow" / "timing.jsonl") == [
        {"epoch": 1, "train_seconds": 7200, "seconds": 10800}]


def test_lines_of_epochs_done_before_are_kept(record, tmp_path):
    # A run killed after the record of epoch 3 and before its checkpoint repeats epoch 3.
    before = [{"epoch": 1, "lr": 0.5, "loss": 9.0}, {"epoch": 2, "lr": 0.5, "loss": 8.0}]
    timing = [{"epoch": number, "train_seconds": 1.0, "seconds": 2.0} for number in (1, 2, 3)]
    for name, rows in (("metrics", [*before, {"epoch": 3, "loss": 7.0}]), ("timing", timing)):
        write_text(tmp_path / "run" / f"{name}.jsonl",
                   "".join(json.dumps(row) + "\n" for row in rows))
    epoch(record(history=list(before)), 2, TRAINING)
    assert lines(tmp_path / "run" / "metrics.jsonl") == [
        *before, {"epoch": 3, "lr": 0.125, **TRAINING}]
    times = lines(tmp_path / "run" / "timing.jsonl")
    assert times[:2] == timing[:2] and times[2] != timing[2] and len(times) == 3


@pytest.mark.parametrize(("summary", "val_summary"), [
    ({"loss": math.nan}, None),
    ({"loss": math.inf, "dice_ce_out": 1.0}, {"dice": 0.5}),
    ({"loss": 1.0, "dice_ce_out": -math.inf}, None),
    ({"loss": 1.0}, {"dice": 0.5, "loss": math.nan}),  # the last step broke the weights
])
def test_values_that_are_not_finite_change_nothing(record, tmp_path, summary, val_summary):
    writer, folder = record(), tmp_path / "run"
    epoch(writer, 0, TRAINING)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(FloatingPointError, match="not finite.*smaller --lr"):
        epoch(writer, 1, summary, val_summary)
    assert set(before) == {"metrics.jsonl", "timing.jsonl", "progress.png"}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert len(writer.history) == len(writer.timing) == 1


def test_the_picture_has_the_seconds_that_are_known(record):
    drawn = []
    writer = record(history=[{"epoch": 1, "lr": 0.5, "loss": 9.0}])
    writer.draw = lambda path, rows: drawn.append(rows) or progress_picture(path, rows)
    epoch(writer, 1, TRAINING)
    first, second = drawn[0]
    assert "seconds" not in first and second["seconds"] >= 0
    assert second["epoch"] == 2


def test_epoch_order_tells_the_sampler():
    chosen = []

    class Loader:
        class batch_sampler:  # noqa: N801
            batch_size = 4

            class sampler:  # noqa: N801
                def set_epoch(*epoch_and_start):
                    chosen.append(epoch_and_start)

    class Manager:
        first_step = 0

    for number, Manager.first_step in ((0, 0), (1, 0), (7, 3)):
        EpochOrder(Loader, Manager).on_epoch_start(number)
    assert chosen == [(0, 0), (1, 0), (7, 12)]


def test_progress_reads_the_loss_seldom(capsys):
    reads = []

    class Manager:
        first_step = 0

        @property
        def compiled_losses(self):
            reads.append(1)
            return type("Loss", (), {"result": torch.tensor(1.25)})

    progress = Progress(Manager(), num_steps=25, refresh_every=10)
    progress.on_epoch_start(0)
    for batch in range(25):
        progress.on_batch_end(batch)
    assert len(reads) == 2 and progress.bar.n == 25 and progress.bar.disable
    progress.on_train_end(None)
    assert "loss=1.2500" in capsys.readouterr().err
