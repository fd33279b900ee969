"""report.html: what it says, that names cannot break it, and that it works in a real browser."""

import base64
import gzip
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from configs.files import write_json, write_text
from reports import per_case_csv, read_per_case, write_report
from reports.__main__ import main
from reports.html_page import page
from reports.run_data import headline, page_data, read_experiment, shown_views
from reports.views import MAX_VOXELS, CaseView, case_view, read_views, write_views

HOSTILE = "</script><img src=x onerror=alert(1)>&{{js}}"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
SHAPE = (12, 10, 8)


def view_of(case_id, shift=0):
    """A bright box as label; the prediction is `shift` voxels off along the first axis."""
    image, label = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    image[3:7, 3:7, 2:6], label[3:7, 3:7, 2:6] = 100, 1
    return case_view(case_id, image, label, np.roll(label, shift, 0), (1.0, 1.0, 2.0), 3)


@pytest.fixture
def run(tmp_path):
    """run(name, gain) -> a folder that looks like a scored run of three cases and two classes."""

    def make(name, gain=0.0, views=True):
        folder = tmp_path / "experiments" / f"{name}.exp"
        cases = ("case1", HOSTILE, "case3")
        rows = [{"case_id": case_id, "class": k, "class_name": ("", "front", "<b>back")[k],
                 "dice": 0.5 + 0.1 * index + 0.05 * k + gain, "hd95_mm": 3.0 - index - gain,
                 "msd_mm": 1.0, "msd_label_to_pred_mm": 1.0,
                 "assd_mm": 1.0 if index else float("nan"), "empty": "neither"}
                for index, case_id in enumerate(cases) for k in (1, 2)]
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"network": "nnunet", "note": HOSTILE})
        write_json(folder / "environment.json", {"packages": {"torch": "2"}})
        write_text(folder / "metrics.jsonl", "".join(json.dumps(
            {"epoch": e, "loss": 1 / e} | ({"val_dice": 0.5 + e / 20} if e % 2 == 0 else {})) + "\n"
            for e in range(1, 7)))
        per_case_csv(folder / "per_case.csv", rows)
        write_json(folder / "summary.json", {"group": "testing", "saved_model": "best",
                                             "space": "resampled"})
        if views:
            write_views(folder / "report_volumes.npz",
                        [view_of(case_id, index) for index, case_id in enumerate(cases)])
        return folder

    return make


def data_of(path):
    """What the page's script reads."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found[1]), text


def test_the_numbers_of_the_page(run):
    folder = run("A")
    data, text = data_of(write_report([str(folder)]))
    one = data["experiments"][0]
    dice = one["headline"][0]
    # Case means 0.575, 0.675, 0.775.
    assert dice["metric"] == "dice" and dice["mean"] == pytest.approx(0.675) and dice["n"] == 3
    assert 0.575 <= dice["low"] < 0.675 < dice["high"] <= 0.775
    assd = one["headline"][-1]
    assert (assd["metric"], assd["mean"], assd["n"]) == ("assd_mm", 1.0, 2)
    assert [row["assd_mm"] for row in one["rows"]] == [None, None, 1, 1, 1, 1]
    assert one["about"] == {"group": "testing", "saved_model": "best", "space": "resampled"}
    assert [line["epoch"] for line in one["runs"]["A"]["history"]] == [1, 2, 3, 4, 5, 6]
    assert one["runs"]["A"]["settings"]["note"] == HOSTILE
    assert [case["case_id"] for case in data["cases"]] == ["case1", HOSTILE, "case3"]
    packed = re.search(r'id="volume-1">([^<]*)<', text)[1]
    content = gzip.decompress(base64.b64decode(packed))
    image, label, prediction = np.frombuffer(content, np.uint8).reshape(3, *SHAPE)
    assert image.max() == 63 and image[4, 4, 4] == 63 and image[0, 0, 0] == 0
    assert label[3, 3, 2] == 1 and prediction[3, 3, 2] == 0 and prediction[7, 3, 2] == 1


def test_a_comparison_pairs_the_cases(run):
    paths = [str(run("A")), str(run("B", 0.02))]
    path = write_report(paths)
    data, _ = data_of(path)
    assert path.parent.name == "B.exp"
    result = data["comparisons"][0]["results"][0]
    assert (result["metric"], result["class_name"]) == ("dice", "overall")
    assert result["mean_difference"] == pytest.approx(0.02) and result["wins"] == 3
    assert data["cases"][0]["of"] == ["A", "B"]


def test_the_same_runs_give_the_same_bytes_and_nothing_is_loaded(run):
    folder = str(run("A"))
    first = write_report([folder]).read_bytes()
    assert write_report([folder]).read_bytes() == first
    text = first.decode()
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org/2000/svg)|@import|url\(",
                         text.replace("\\u003cimg src=x", ""))
    assert "{{" not in re.sub(r'"[^"]*"', "", text.replace(HOSTILE, "")) and "<img" not in text
    assert text.count("</script>") == 2 + 3  # data, script, and a volume of each case


@pytest.mark.parametrize(("missing", "says"), [
    ("per_case.csv", "python eval.py --experiment"), ("config.json", "no run here")])
def test_what_is_missing_is_named_with_the_way_to_it(run, missing, says):
    folder = run("A")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=says):
        write_report([str(folder)])


def test_damaged_volumes_are_refused(run):
    folder = run("A")
    path = folder / "report_volumes.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="run eval.py again"):
        write_report([str(folder)])
    np.savez(path, about=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        read_views(path)


def test_other_cases_cannot_be_compared(run):
    a, b = run("A"), run("B")
    lines = (b / "per_case.csv").read_text().splitlines()
    (b / "per_case.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(ValueError, match="in A but not in B"):
        write_report([str(a), str(b)])


def test_large_volumes_are_thinned_along_their_finest_axes():
    shape = (300, 300, 100)
    view = case_view("a", np.zeros(shape, np.float32), np.zeros(shape, np.uint8),
                     np.zeros(shape, np.uint8), (0.5, 0.5, 2.0), 10)
    assert view.image.size <= MAX_VOXELS // 10
    assert view.image.shape == (100, 100, 100) and view.spacing_mm == (1.5, 1.5, 2.0)


def test_without_volumes_there_is_a_page_without_a_viewer(run):
    data, _ = data_of(write_report([str(run("A", views=False))]))
    assert data["cases"] == []


def test_the_command_line(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["reports", str(run("A")), "--output",
                                     str(tmp_path / "out" / "a.html")])
    main()
    assert str(tmp_path / "out" / "a.html") in capsys.readouterr().out
    assert (tmp_path / "out" / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_a_cross_validation_has_the_cases_of_its_folds(run, tmp_path):
    first = run("NAME_Fold1")
    rows = read_per_case(first / "per_case.csv")
    folder = tmp_path / "experiments" / "NAME.cv"
    folder.mkdir()
    per_case_csv(folder / "per_case.csv", [{"fold": 1 + (row["case_id"] == "case3")} | row
                                           for row in rows])
    data, _ = data_of(write_report([str(folder)]))
    one = data["experiments"][0]
    assert one["about"] == {"group": "validation", "folds": 2}
    assert list(one["runs"]) == ["NAME_Fold1"]  # the other fold's run is not here any more
    assert [case["case_id"] for case in data["cases"]] == ["case1", HOSTILE]
    assert {row["fold"] for row in one["rows"]} == {1, 2}


def test_headline_of_one_case_has_no_interval():
    rows = [{"case_id": "a", "class_name": "x", "dice": 0.5}]
    assert headline(rows, ["dice"]) == [{"metric": "dice", "mean": 0.5, "low": None, "high": None,
                                         "n": 1}]


WATCH = """<script>window.problems = [];
window.addEventListener("error", event => problems.push(String(event.message)));
window.addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...words) => problems.push(words.join(" "));
</script>"""
TRY = """<script>(async () => {
  // Messages, not timers: the browser's clock is a virtual one that leaps over them, however long
  // a slow machine still unpacks the volumes.
  const next = () => new Promise(done => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = done;
    port2.postMessage(null);
  });
  const heading = () => document.querySelector("#viewer h3")?.textContent;
  const shown = async before => { while ((heading() ?? before) === before) await next(); };
  const all = what => [...document.querySelectorAll(what)];
  const order = () => all("#cases tbody tr").map(row => row.dataset.case);
  const picture = () => all("canvas")[0].toDataURL();
  const found = {problems};
  await shown();
  found.title = document.querySelector("h1").textContent;
  found.worstFirst = order();
  found.chosen = heading();
  all("#cases thead button")[0].click();
  found.byName = order();
  all("#cases thead button")[0].click();
  found.byNameDown = order();
  const canvas = all("canvas")[0], caption = () => all("figcaption span")[1].textContent;
  const before = caption(), image = picture();
  canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: 1, cancelable: true}));
  found.wheel = [before, caption()];
  canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowDown", bubbles: true,
    cancelable: true}));
  found.arrow = caption();
  found.same = picture() === image;
  document.getElementById("layer-label").click();
  found.label = picture() !== image;
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "l"}));
  found.again = picture() === image;
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "d"}));
  found.difference = [picture() !== image, document.getElementById("layer-difference").checked];
  all("#cases tbody button")[2].click();
  await shown(found.chosen);
  found.other = heading();
  const area = all("canvas")[0].getBoundingClientRect();
  const slices = () => all("figcaption span").filter((_, index) => index % 2)
    .map(one => one.textContent);
  const until = slices();
  all("canvas")[0].dispatchEvent(new PointerEvent("pointermove", {buttons: 1,
    clientX: area.left + 2, clientY: area.top + 2}));
  found.moved = [until, slices()];
  const metric = document.getElementById("metric");
  metric.value = "hd95_mm";
  metric.dispatchEvent(new Event("change"));
  found.farthestFirst = order();
  found.dots = all("#boxes circle[data-case]").length;
  found.lines = all("#curves polyline").map(one => one.getAttribute("points").split(" ").length);
  const scheme = document.documentElement.dataset.scheme;
  document.getElementById("scheme").click();
  found.schemes = [scheme, document.documentElement.dataset.scheme].sort();
  found.images = all("img").length;
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
  document.body.append(out);
})();</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
@pytest.mark.parametrize("names", [("A",), ("A", "B")])
def test_in_a_browser(run, tmp_path, names):
    """It loads without a complaint, sorts, scrolls, toggles, and keeps names as text."""
    experiments = [read_experiment(str(run(name, 0.02 * index)))
                   for index, name in enumerate(names)]
    text = page(page_data(experiments), shown_views(experiments))
    # Asked to allow what this test adds; the rest is as it is written.
    text = text.replace("<style>", WATCH + "<style>", 1).replace("</body>", TRY + "</body>")
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/u",
         "--virtual-time-budget=5000", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="found">([^<]*)</pre>', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(base64.b64decode(found[1]))
    assert found["problems"] == [] and found["images"] == 0
    assert found["title"] == " against ".join(reversed(names))
    assert found["worstFirst"] == ["case1", HOSTILE, "case3"] and found["chosen"] == "case1"
    assert found["byName"] == sorted(["case1", HOSTILE, "case3"])
    assert found["byNameDown"] == found["byName"][::-1]
    # The box has its most voxels, all the same, from slice 2 on.
    assert found["wheel"] == ["z = 2 of 7", "z = 3 of 7"] and found["arrow"] == "z = 2 of 7"
    assert found["same"] and found["label"] and found["again"]
    assert found["difference"] == [False, True]  # case1's prediction is its label
    assert found["other"] == HOSTILE  # the third of the table that was sorted downwards
    assert found["moved"][1] == ["z = 2 of 7", "y = 9 of 9", "x = 11 of 11"]
    assert found["moved"][0] != found["moved"][1]
    assert found["farthestFirst"][0] == "case1" and found["dots"] == 6 * len(names)
    assert found["lines"] == [3] * len(names)  # val_dice, every other epoch
    assert found["schemes"] == ["dark", "light"]


def with_rows(folder, change):
    """Write the run's per_case.csv again with what `change` makes of its rows."""
    per_case_csv(folder / "per_case.csv", change(read_per_case(folder / "per_case.csv")))


@pytest.mark.parametrize(("change", "says"), [
    (lambda rows: rows[:-1], "a case lacks a class"),
    (lambda rows: rows + rows[:1], "a case has a class twice"),
    (lambda rows: [rows[0] | {"class_name": "other"}, *rows[1:]], "a class has two names"),
    (lambda rows: [rows[0] | {"hd95_mm": float("inf")}, *rows[1:]], "a value is infinite")])
def test_scores_that_cannot_be_right_are_refused(run, change, says):
    folder = run("A")
    with_rows(folder, change)
    with pytest.raises(ValueError, match=f"per_case.csv.*{says}.*evaluate the run again"):
        write_report([str(folder)])
    assert not (folder / "report.html").exists()


def test_a_line_that_is_cut_is_refused(run):
    folder = run("A")
    path = folder / "per_case.csv"
    path.write_text(path.read_text().rstrip().rsplit(",", 1)[0] + "\n")
    with pytest.raises(ValueError, match="per_case.csv.*fewer cells"):
        write_report([str(folder)])


@pytest.mark.parametrize(("name", "text", "says"), [
    ("metrics.jsonl", "null\n", "a line is no epoch"), ("metrics.jsonl", "{", "is damaged"),
    ("summary.json", "[]", "no JSON object"), ("config.json", "3", "no JSON object"),
    ("splits.json", '[{"val": []}]', "no training cases of fold 1")])
def test_a_damaged_file_of_the_run_is_named(run, name, text, says):
    folder = run("A")
    write_text(folder / name, text)
    with pytest.raises(ValueError, match=f"{name}.*{says}"):
        write_report([str(folder)])


def test_cases_that_the_run_was_trained_on_are_counted(run):
    folder = run("A")
    write_json(folder / "splits.json", [{"train": ["case1", "case7"], "val": ["case3"]}])
    data, _ = data_of(write_report([str(folder)]))
    assert data["experiments"][0]["about"]["trained_on"] == 1


def test_scores_on_other_grids_are_not_compared(run):
    a, b = run("A"), run("B")
    write_json(b / "summary.json", {"group": "testing", "saved_model": "best", "space": "native"})
    with pytest.raises(ValueError, match="A: resampled, B: native.*evaluate all in the same way"):
        write_report([str(a), str(b)])


def test_the_title_says_which_is_the_baseline(run):
    _, text = data_of(write_report([str(run(name)) for name in "ABC"]))
    assert "<title>B, C against A</title>" in text


def test_runs_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
    first, other = run("A"), run("B")
    second = tmp_path / "second" / "experiments" / "A.exp"
    shutil.copytree(first, second)
    data, text = data_of(write_report([str(first), str(second), str(other)]))
    names = [f"{tmp_path.name}/experiments/A.exp", "second/experiments/A.exp", "B"]
    assert [one["name"] for one in data["experiments"]] == names
    assert data["cases"][0]["of"] == names
    assert [one["a"] for one in data["comparisons"]] == names[:1] * 2
    same, _ = data_of(write_report([str(first), str(first)]))  # nothing tells these apart
    assert [one["name"] for one in same["experiments"]] == ["A.exp"] * 2


def test_a_folder_is_no_place_for_the_page(run, tmp_path):
    folder = run("A")
    with pytest.raises(ValueError, match="is a folder; give the name of a file"):
        write_report([str(folder)], tmp_path)


def test_many_folds_have_no_more_voxels_than_one_run(run):
    one = read_experiment(str(run("A")))
    side = 200
    volume = np.zeros((side, side, side), np.uint8)
    many = [CaseView(f"case{n}", (1.0, 1.0, 2.0), volume, volume, volume) for n in range(4)]
    shown = shown_views([one | {"views": many}])
    assert sum(np.prod(view["shape"]) for view in shown) <= MAX_VOXELS < 4 * side**3
    for view in shown:  # as long as before, in mm, to the last step
        for n, mm, whole in zip(view["shape"], view["spacing_mm"], (1.0, 1.0, 2.0), strict=True):
            assert side * whole <= n * mm < side * whole + mm
        assert view["volumes"][0].shape == tuple(view["shape"])
