// The head, the scores, their cautions and the comparison.

const casesIn = one => new Set(one.rows.map(row => row.case_id)).size;

/** What a reader has to know about these scores. */
function cautions(one) {
  const found = [], count = (...sides) => one.rows.filter(row => sides.includes(row.empty)).length;
  const missed = count("prediction"), invented = count("label"), both = count("both");
  const rows = number => `${number} mask${number === 1 ? "" : "s"} of a case and class`;
  const paper = DATA.metrics.some(metric => metric.endsWith("_voxels"));
  if (missed) found.push(`${rows(missed)} not predicted at all` + (paper
    ? " (Dice 0, left out of the distances)" : " (Dice 0, distance the volume's diagonal)"));
  if (invented) found.push(`${rows(invented)} predicted but absent from the label` + (paper
    ? " (left out)" : " (Dice 0, distance the volume's diagonal)"));
  if (both) found.push(`${rows(both)} absent from both` + (paper ? " (left out)"
    : " (Dice 1, distance 0)"));
  if (one.about.group === "validation") found.push("the validation cases also chose best.model, " +
    "so their scores flatter it a little");
  if (one.about.trained_on) found.push(`${one.about.trained_on} of the cases were trained on: ` +
    "their scores say nothing about new patients");
  if (casesIn(one) < 10) found.push("with fewer than ten cases the intervals are too narrow");
  return found;
}

function scores() {
  const about = EXPERIMENTS.map(one => {
    const number = casesIn(one);
    const words = [`${number} ${one.about.group || ""} case${number === 1 ? "" : "s"}`
      .replace("  ", " ")];
    if (one.about.folds) words.push(`${one.about.folds} folds`);
    if (one.about.saved_model) words.push(`${one.about.saved_model}.model`);
    if (one.about.epoch) words.push(`epoch ${one.about.epoch}`);
    if (one.about.space) words.push(`${one.about.space} grid`);
    if (one.about.trained_on) words.push(`${one.about.trained_on} of them trained on`);
    return (EXPERIMENTS.length > 1 ? one.name + ": " : "") + words.join(", ");
  });
  byId("about").textContent = about.join("; ");
  byId("facts").replaceChildren(...EXPERIMENTS.filter(one => one.facts.length).map(one =>
    make("span", {}, (EXPERIMENTS.length > 1 ? one.name + ": " : "") + one.facts.join(" · "))));
  byId("result").replaceChildren(...DATA.results.map(text => make("span", {}, text)));
  EXPERIMENTS.forEach((one, index) => {
    if (EXPERIMENTS.length > 1) byId("headline").append(make("p", {className: "note"}, one.name));
    byId("headline").append(make("div", {className: "tiles"}, ...one.headline.map(line => {
      const tile = make("div", {className: "tile"}, make("span", {}, titleOf(line.metric)),
        make("b", {}, show(line.mean, line.metric)),
        make("span", {}, line.low === null ? (line.n ? "one case" : "no case has it") :
          `95 % interval ${show(line.low, line.metric)} to ${show(line.high, line.metric)}` +
          (line.n < casesIn(one) ? `, ${line.n} of ${casesIn(one)} cases` : "")));
      tile.style.setProperty("--tone", toneOf(index));
      return tile;
    })));
  });
  byId("headline").append(make("p", {className: "note"},
    "Means over cases of each case's mean over classes; intervals: percentile bootstrap over " +
    `cases. Higher is better for ${DATA.metrics.filter(rises).map(titleOf).join(", ")}, lower for ` +
    "distances. HD95: the larger 95th percentile " +
    "of the distances between the surfaces of label and prediction; MSD: mean distance from the " +
    "predicted surface to the label's, MSD back: from the label's to the predicted; ASSD: mean of " +
    "both surfaces. In the table by class: mean ± standard deviation between cases."));
  for (const one of EXPERIMENTS) {
    const told = cautions(one);
    if (told.length) byId("headline").append(make("p", {className: "note caution"},
      (EXPERIMENTS.length > 1 ? `${one.name}: ` : "Note: ") + told.join("; ") + "."));
  }
  for (const one of EXPERIMENTS) {
    const rows = DATA.class_names.slice(1).map(name => {
      const own = one.rows.filter(row => row.class_name === name);
      return [name, ...DATA.metrics.map(metric => {
        const values = own.map(row => row[metric]).filter(value => value !== null);
        const middle = mean(values);
        if (values.length < 2) return show(middle, metric);
        return `${show(middle, metric)} ± ${show(deviation(values), metric)}`;
      })];
    });
    byId("classes").append(tableBox(`classes${ofOne(one)}`,
      table([EXPERIMENTS.length > 1 ? one.name : "class", ...DATA.metrics.map(titleOf)], rows)));
  }
}

function comparison() {
  if (!DATA.comparisons.length) return;
  byId("comparison").hidden = false;
  DATA.comparisons.forEach((one, index) => {
    const letter = letterOf(index + 1);
    byId("compared").append(make("p", {}, `${letter} ${one.b} against A ${one.a}, the baseline`));
    const p = value => value === null ? "" : value < 0.0001 ? "<0.0001" : value.toFixed(4);
    const rows = one.results.map(result => {
      const {metric, mean_difference: gain} = result;
      return [`${titleOf(metric)}, ${result.class_name}`, show(result.mean_a, metric),
        show(result.mean_b, metric), signed(gain, metric),
        result.ci_low === null ? "–"
          : `${signed(result.ci_low, metric)} to ${signed(result.ci_high, metric)}`,
        `${result.wins}/${result.ties}/${result.losses}`, p(result.p), p(result.p_holm)];
    });
    byId("compared").append(make("p", {className: "verdict"},
      one.verdicts.map(({metric, verdict, run_low, run_high}) => `${titleOf(metric)}: ${verdict}` +
        (run_low === null ? ""
          : ` (over runs ${signed(run_low, metric)} to ${signed(run_high, metric)})`)).join("; ")));
    byId("compared").append(tableBox(`${one.b} against ${one.a}`, table(
      ["", "A", letter, `${letter} − A`, "95 % interval", `${letter} wins/ties/losses`, "p",
        "p Holm"], rows)));
  });
  byId("compared").append(make("p", {className: "note"},
    "Paired by case. p: Wilcoxon signed-rank, two-sided; p Holm: corrected over the classes of " +
    "a metric. Intervals and tests over cases are about these trained networks. A verdict on the " +
    "methods needs three pairs of runs or more, such as the folds of two cross-validations: better " +
    "or worse where p of the overall row is below 0.05 and 0 lies outside both " +
    "intervals, over cases and over runs; level where the 90 % interval over runs lies within " +
    "0.3 points of Dice; otherwise no difference is shown, which does not mean that there is none." +
    (EXPERIMENTS.some(one => one.about.folds) ? " The folds' training sets overlap: the interval " +
    "over runs allows for it (Nadeau and Bengio 2003), tests over cases do not, so read a p near " +
    "0.05 with care." : "")));
}
