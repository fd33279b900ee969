// Curves of training, settings and environment.

const RUNS = EXPERIMENTS.flatMap((one, index) => Object.entries(one.runs).map(([name, run]) => ({
  name, index, history: run.history}))).filter(run => run.history.length);

/** The runs that have a value, with their points and colours. */
function seriesOf(key) {
  return RUNS.map((run, number) => ({name: run.name,
    tone: RUNS.length === EXPERIMENTS.length ? toneOf(run.index)
      : COLOURS[(number + 5) % COLOURS.length],
    points: run.history.filter(line => typeof line[key] === "number")
      .map(line => [line.epoch, line[key]])})).filter(one => one.points.length);
}

const KEYS = [...new Set(RUNS.flatMap(run => run.history.flatMap(Object.keys)))]
  .filter(key => key !== "epoch" && seriesOf(key).length);

/** A loss term in words: kl_dec is "KL, dec". */
function termTitle(key) {
  if (key === "loss") return "total";
  const [, kind, part] = key.match(/^(dice_ce|kl)_(.+)$/) || [];
  if (!kind) return key;
  const branch = {dec: "decoder", enc: "encoder", out: "output"}[part] || part;
  return `${kind === "kl" ? "KL" : "Dice-CE"}, ${branch}`;
}

function training() {
  byId("training").hidden = !KEYS.length;
  if (!KEYS.length) return;
  const first = ["val_dice", "loss"].filter(key => KEYS.includes(key));
  for (const key of [...first, ...KEYS.filter(key => !first.includes(key))]) {
    byId("curve").append(make("option", {value: key}, key));
  }
  byId("curve").addEventListener("change", curve);
  curve();
  byId("curves").after(saveButton("CSV of all epochs", fileName("epochs.csv"), () => csvUrl(csvText(
    [["run", "epoch", ...KEYS], ...RUNS.flatMap(run => run.history.map(line =>
      [run.name, line.epoch, ...KEYS.map(key => line[key])]))]))));
  const terms = KEYS.filter(key => !key.startsWith("val_") && !["lr", "seconds"].includes(key));
  if (terms.length < 2) return;
  const svg = panels(terms, (chart, box, key) => plotCurves(chart, box, seriesOf(key),
    termTitle(key)), seriesOf("loss"), "every term of the loss by epoch");
  showChart("terms", "loss terms", svg, "Every term of the training loss by epoch, before its " +
    "weight (KL: before alpha); the total, with the weights, is what training minimises.");
}

function curve() {
  const key = byId("curve").value, series = seriesOf(key);
  const foot = 30 + 16 * Math.ceil(series.length / 2);
  const svg = draw("svg", {viewBox: "0 0 1000 300", role: "img", "aria-label": `${key} by epoch`});
  plotCurves(svg, {left: 62, top: 12, width: 924, height: 288 - foot}, series, "");
  plotLegend(svg, 334 - foot, 62, 938, series);
  showChart("curves", key, svg, `${key} by epoch`);
}

function settings() {
  const shown = value => value !== null && typeof value === "object" ? JSON.stringify(value)
    : String(value);
  for (const one of EXPERIMENTS) for (const [name, run] of Object.entries(one.runs)) {
    for (const [title, values] of [["settings", run.settings], ["environment", run.environment]]) {
      const rows = Object.entries(values).filter(([key]) => key !== "dataset_definition")
        .map(([key, value]) => [key, shown(value)]);
      byId("settings").append(make("details", {}, make("summary", {}, `${name}: ${title}`),
        table(["", "value"], rows)));
    }
  }
}
