// Class volumes: predicted against labelled.

/** Three digits, or all of a whole number: 2436, not 2.44e+3. */
function ml(value) {
  if (value === null) return "–";
  return Math.abs(value) < 999.5 ? value.toPrecision(3) : value.toFixed(0);
}
const signedMl = value => (value > 0 ? "+" : "") + ml(value);

function volumes() {
  const shown = EXPERIMENTS.map((one, index) => ({...one, tone: toneOf(index)}))
    .filter(one => one.volumes.length);
  byId("volumes").hidden = !shown.length;
  if (!shown.length) return;
  const names = DATA.class_names.slice(1);
  const plot = (svg, box, name) => {
    const series = shown.map(one => ({...one,
      line: one.agreement.find(line => line.class_name === name),
      points: one.volumes.filter(row => row.class_name === name).map(row => ({...row,
        mean: (row.label_ml + row.predicted_ml) / 2,
        difference: row.predicted_ml - row.label_ml}))})).filter(one => one.line);
    const points = series.flatMap(one => one.points);
    const limits = series.flatMap(one => [one.line.low_ml, one.line.high_ml])
      .filter(value => value !== null);
    const xRange = rangeOf(points.map(point => point.mean));
    const {x, y} = axes(svg, box, xRange,
      rangeOf([0, ...limits, ...points.map(point => point.difference)]), ticks(...xRange, 4), name);
    for (const one of series) {
      for (const [value, dash] of [[one.line.bias_ml, "none"], [one.line.low_ml, "5 4"],
        [one.line.high_ml, "5 4"]]) {
        if (value === null) continue;
        svg.append(draw("line", {x1: box.left, x2: box.left + box.width, y1: y(value), y2: y(value),
          stroke: one.tone, "stroke-width": 1.4, "stroke-dasharray": dash}));
      }
      for (const point of one.points) {
        const dot = draw("circle", {cx: x(point.mean), cy: y(point.difference), r: 3.2,
          fill: one.tone, "fill-opacity": 0.7}, draw("title", {}, `${point.case_id}: label `
          + `${ml(point.label_ml)} ml, predicted ${ml(point.predicted_ml)} ml`));
        dot.addEventListener("click", () => choose(point.case_id));
        svg.append(dot);
      }
    }
  };
  const svg = panels(names, plot, shown, "difference of volumes by class");
  showChart("agreement", "volumes", svg, "Across: mean of labelled and predicted volume in ml; " +
    "upwards: predicted - labelled. A dot per case; the line is the bias (mean difference), the " +
    "dashed ones the limits of agreement, bias ± 1.96 standard deviations (Bland and Altman).");
  for (const one of shown) {
    const rows = one.agreement.map(line => [line.class_name, String(line.n), ml(line.label_ml),
      ml(line.predicted_ml), signedMl(line.bias_ml), line.low_ml === null ? "–"
        : `${signedMl(line.low_ml)} to ${signedMl(line.high_ml)}`]);
    byId("volumeTables").append(tableBox(`volumes${ofOne(one)}`, table(
      [EXPERIMENTS.length > 1 ? one.name : "class", "cases", "label [ml]", "predicted [ml]",
        "bias [ml]", "limits of agreement [ml]"], rows)));
  }
  byId("volumeTables").lastChild.append(saveButton("CSV of all cases",
    fileName("volumes of all cases.csv"), () => csvUrl(csvText([
      ["experiment", "case_id", "class_name", "label_ml", "predicted_ml"],
      ...shown.flatMap(one => one.volumes.map(row => [one.name, row.case_id, row.class_name,
        row.label_ml, row.predicted_ml]))]))));
}
