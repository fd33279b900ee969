"""A run that looks as if it had been trained and scored, for the tests of report.html."""

import json

import numpy as np
import pytest

from reports import per_case_csv
from reports.html.views import case_view, write_views
from system.files import write_json, write_text

SHAPE = (12, 10, 8)


@pytest.fixture
def hostile():
    """A name that would break out of a page that did not escape it."""
    return "</script><img src=x onerror=alert(1)>&{{js}}"


def view_of(case_id, shift=0):
    """A bright box as label; the prediction is `shift` voxels off along the first axis."""
    image, label = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    image[3:7, 3:7, 2:6], label[3:7, 3:7, 2:6] = 100, 1
    return case_view(case_id, image, label, np.roll(label, shift, 0), (1.0, 1.0, 2.0),
                     (0.0, 100.0), 3)


@pytest.fixture
def run(tmp_path, hostile):
    """run(name, gain) -> a folder that looks like a scored run of three cases and two classes."""

    def make(name, gain=0.0, views=True):
        folder = tmp_path / "experiments" / f"{name}.exp"
        cases = ("case1", hostile, "case3")
        rows = [{"case_id": case_id, "class": k, "class_name": ("", "front", "<b>back")[k],
                 "dice": 0.5 + 0.1 * index + 0.05 * k + gain, "hd95_mm": 3.0 - index - gain,
                 "msd_mm": 1.0, "msd_label_to_pred_mm": 1.0,
                 "assd_mm": 1.0 if index else float("nan"), "empty": "neither"}
                for index, case_id in enumerate(cases) for k in (1, 2)]
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"network": "nnunet", "note": hostile})
        write_json(folder / "environment.json", {"packages": {"torch": "2"}})
        history = ""
        for epoch in range(1, 7):
            line = {"epoch": epoch, "loss": 1 / epoch, "kl_dec": 0.1 * epoch}
            if epoch % 2 == 0:
                line["val_dice"] = 0.5 + epoch / 20
            history += json.dumps(line) + "\n"
        write_text(folder / "metrics.jsonl", history)
        per_case_csv(folder / "per_case.csv", rows)
        write_json(folder / "summary.json", {"group": "testing", "saved_model": "best",
                                             "space": "resampled"})
        if views:
            write_views(folder / "report_volumes.npz",
                        [view_of(case_id, index) for index, case_id in enumerate(cases)])
        return folder

    return make
