// Lines and dots in boxes of an SVG.

/** The range of values; of a single one, a tenth of it to both sides. */
function rangeOf(values) {
  const low = Math.min(...values), high = Math.max(...values);
  if (low !== high) return [low, high];
  const beside = Math.abs(low) / 10 || 0.5;
  return [low - beside, high + beside];
}

/** Axes in a box {left, top, width, height}; returns the functions from values to pixels. */
function axes(svg, box, [x0, x1], [y0, y1], xTicks, title) {
  const x = value => box.left + (value - x0) / (x1 - x0) * box.width;
  const y = value => box.top + (y1 - value) / (y1 - y0) * box.height;
  for (const tick of ticks(y0, y1, box.height > 200 ? 6 : 4)) {
    svg.append(draw("line", {x1: box.left, x2: box.left + box.width, y1: y(tick), y2: y(tick),
      class: "axis"}),
      draw("text", {x: box.left - 8, y: y(tick) + 4, "text-anchor": "end"}, String(tick)));
  }
  for (const tick of xTicks) {
    svg.append(draw("text", {x: x(tick), y: box.top + box.height + 18, "text-anchor": "middle"},
      String(tick)));
  }
  if (title) {
    svg.append(draw("text", {x: box.left, y: box.top - 8, class: "ink"},
      ...shorten(title, Math.floor(box.width / 7))));
  }
  return {x, y};
}

/** Curves over epochs in a box; series of {tone, points: [[epoch, value], ...]}. */
function plotCurves(svg, box, series, title) {
  const points = series.flatMap(one => one.points);
  const last = Math.max(...points.map(point => point[0]), 2);
  const epochs = ticks(1, last, box.width > 600 ? 8 : 4).filter(Number.isInteger);
  const {x, y} = axes(svg, box, [1, last], rangeOf(points.map(point => point[1])), epochs, title);
  for (const one of series) {
    svg.append(draw("polyline", {fill: "none", stroke: one.tone, "stroke-width": 2.2,
      points: one.points.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ")}));
    for (const [epoch, value] of one.points) {
      svg.append(draw("circle", {cx: x(epoch), cy: y(value), r: 2.6, fill: one.tone},
        draw("title", {}, `epoch ${epoch}: ${value.toPrecision(5)}`)));
    }
  }
}

/** Names of series in two columns below y = top. */
function plotLegend(svg, top, left, width, series) {
  series.forEach((one, number) => {
    const x = left + (number % 2) * width / 2, y = top + 16 * Math.floor(number / 2);
    svg.append(draw("line", {x1: x, x2: x + 18, y1: y - 4, y2: y - 4, stroke: one.tone,
      "stroke-width": 3}), draw("text", {x: x + 24, y, class: "ink"}, ...shorten(one.name, 60)));
  });
}

/** An SVG of panels in two columns, each drawn by plot(svg, box, item), and a legend below. */
function panels(items, plot, series, label) {
  const rows = Math.ceil(items.length / 2), tall = 190;
  const foot = series.length > 1 ? 16 * Math.ceil(series.length / 2) + 8 : 0;
  const svg = draw("svg", {viewBox: `0 0 1000 ${rows * tall + foot}`, role: "img",
    "aria-label": label});
  items.forEach((item, index) => {
    plot(svg, {left: 62 + 500 * (index % 2), top: 28 + tall * Math.floor(index / 2), width: 420,
      height: tall - 64}, item);
  });
  if (foot) plotLegend(svg, rows * tall + 12, 62, 938, series);
  return svg;
}
