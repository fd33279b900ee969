"""report.html in a real browser: it loads without a complaint and does what it says."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from reports.html.experiments import read_experiment
from reports.html.page_file import page
from reports.html.run_data import page_data, shown_views
from reports.volumes import write_volumes

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
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
  found.terms = all("#terms polyline").length;
  found.facts = all("#facts span").map(one => one.textContent);
  found.results = all("#result span").map(one => one.textContent);
  found.bias = all("#agreement line[stroke-dasharray=none]").length;
  const saved = {}, buttons = all("button.save");
  HTMLAnchorElement.prototype.click = function () { saved[this.download] = this.href; };
  for (const button of buttons) button.click();
  while (Object.keys(saved).length < buttons.length) await next();
  found.saved = saved;
  const scheme = document.documentElement.dataset.scheme;
  document.getElementById("scheme").click();
  found.schemes = [scheme, document.documentElement.dataset.scheme].sort();
  found.images = all("img").length;
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
  document.body.append(out);
})();</script>"""


def check_saved(saved, hostile, names):
    """Tables are CSV with the scores' digits, charts are pictures that load nothing."""
    title = "_against_".join(reversed(names))
    text = unquote(saved[f"{title}_scores.csv"].removeprefix("data:text/csv;charset=utf-8,"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6 * len(names) and rows[2]["case_id"] == hostile
    assert [row["dice"] for row in rows[:2]] == ["0.55", "0.6"] and rows[0]["assd_mm"] == ""
    table = unquote(saved[f"{title}_cases.csv"].partition(",")[2]).splitlines()
    assert table[0].startswith("case,") and len(table) == 4 and "↑" not in table[0]
    of_one = f"_{names[0]}" if len(names) > 1 else ""
    volumes = unquote(saved[f"{title}_volumes{of_one}.csv"].partition(",")[2]).splitlines()
    assert volumes[1] == "front,1,2.00,2436,+2434,"
    kind, _, svg = unquote(saved[f"{title}_loss_terms.svg"]).partition(",")
    assert kind == "data:image/svg+xml;charset=utf-8"
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert svg.count("<polyline") == 2 * len(names) and "href" not in svg
    for name, url in saved.items():
        if name.endswith(".png"):
            image = base64.b64decode(url.removeprefix("data:image/png;base64,"))
            assert image.startswith(b"\x89PNG") and len(image) > 1000, name
    assert {name.rpartition(".")[2] for name in saved} == {"csv", "svg", "png"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")
@pytest.mark.parametrize("names", [("A",), ("A", "B")])
def test_in_a_browser(run, tmp_path, hostile, names):
    """It loads without a complaint, sorts, scrolls, toggles, and keeps names as text."""
    folders = [run(name, 0.02 * index) for index, name in enumerate(names)]
    for folder in folders:
        write_volumes(folder, [{"case_id": "case1", "class_name": name, "label_ml": 2.0,
                                "predicted_ml": 2436.4} for name in ("front", "<b>back")])
    experiments = [read_experiment(str(folder)) for folder in folders]
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
    assert found["worstFirst"] == ["case1", hostile, "case3"] and found["chosen"] == "case1"
    assert found["byName"] == sorted(["case1", hostile, "case3"])
    assert found["byNameDown"] == found["byName"][::-1]
    # The box has its most voxels, all the same, from slice 2 on.
    assert found["wheel"] == ["z = 2 of 7", "z = 3 of 7"] and found["arrow"] == "z = 2 of 7"
    assert found["same"] and found["label"] and found["again"]
    assert found["difference"] == [False, True]  # case1's prediction is its label
    assert found["other"] == hostile  # the third of the table that was sorted downwards
    assert found["moved"][1] == ["z = 2 of 7", "y = 9 of 9", "x = 11 of 11"]
    assert found["moved"][0] != found["moved"][1]
    assert found["farthestFirst"][0] == "case1" and found["dots"] == 6 * len(names)
    assert found["lines"] == [3] * len(names)  # val_dice, every other epoch
    assert found["terms"] == 2 * len(names) and found["bias"] == 2 * len(names)
    assert found["facts"] == ["nnunet"] if len(names) == 1 else ["A: nnunet", "B: nnunet"]
    assert len(found["results"]) == 1
    check_saved(found["saved"], hostile, names)
    assert found["schemes"] == ["dark", "light"]
