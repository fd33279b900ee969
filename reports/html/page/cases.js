// Every case: box plots and the table.

const state = {metric: "dice", sort: {key: null, down: false}, chosen: null};

function casesOf(metric) {
  const found = new Map();
  EXPERIMENTS.forEach((one, index) => {
    for (const row of one.rows) {
      if (!found.has(row.case_id)) {
        found.set(row.case_id, {case_id: row.case_id, fold: row.fold,
          values: EXPERIMENTS.map(() => ({}))});
      }
      found.get(row.case_id).values[index][row.class_name] = row[metric];
    }
  });
  return [...found.values()].map(one => ({...one,
    means: one.values.map(values => mean(Object.values(values)))}));
}

function boxes() {
  const metric = state.metric, names = DATA.class_names.slice(1), cases = casesOf(metric);
  const groups = names.flatMap(name => EXPERIMENTS.map((one, index) => ({name, index,
    points: cases.map(found => ({case_id: found.case_id, value: found.values[index][name]}))
      .filter(point => point.value !== null && point.value !== undefined)})));
  const all = groups.flatMap(group => group.points.map(point => point.value));
  if (!all.length) {
    byId("boxes").replaceChildren(make("p", {className: "note"},
      `No case has a value of ${titleOf(metric)}.`));
    return;
  }
  const width = Math.max(1040, 60 + groups.length * 56), top = 14, left = 62;
  const legend = EXPERIMENTS.length > 1 ? EXPERIMENTS.length : 0;
  const foot = 34 + 17 * legend, height = 290 + foot;
  // Scores such as Dice go up to 1, distances begin at 0.
  const low = rises(metric) ? Math.max(0, Math.min(...all) - 0.03) : 0;
  const high = rises(metric) ? 1 : Math.max(...all) * 1.05 || 1;
  const y = value => top + (high - value) / (high - low) * (height - top - foot);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${titleOf(metric)} of every case by class`});
  for (const tick of ticks(low, high)) {
    svg.append(draw("line", {x1: left, x2: width, y1: y(tick), y2: y(tick), class: "axis"}),
      draw("text", {x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, String(tick)));
  }
  const step = (width - left) / groups.length;
  groups.forEach((group, at) => {
    const middle = left + step * (at + 0.5), tone = toneOf(group.index);
    const sorted = group.points.map(point => point.value).sort((a, b) => a - b);
    if (sorted.length) {
      const [q1, q2, q3] = [0.25, 0.5, 0.75].map(q => quantile(sorted, q));
      svg.append(
        draw("rect", {x: middle - 20, width: 40, y: y(q3), height: Math.max(1, y(q1) - y(q3)),
          fill: tone, "fill-opacity": 0.16, stroke: tone}),
        draw("line", {x1: middle - 20, x2: middle + 20, y1: y(q2), y2: y(q2), stroke: tone,
          "stroke-width": 2.5}));
    }
    group.points.forEach((point, number) => {
      const dot = draw("circle", {cx: middle + ((number * 37) % 29 - 14), cy: y(point.value), r: 3.4,
        fill: tone, "fill-opacity": 0.75, "data-case": point.case_id},
        draw("title", {}, `${point.case_id}: ${show(point.value, metric)}`));
      dot.addEventListener("click", () => choose(point.case_id));
      svg.append(dot);
    });
    if (group.index === 0) {
      svg.append(draw("text", {x: middle + step * (EXPERIMENTS.length - 1) / 2,
        y: height - foot + 20, "text-anchor": "middle", class: "ink"},
        ...shorten(group.name, Math.floor(step * EXPERIMENTS.length / 7))));
    }
  });
  for (let index = 0; index < legend; index++) {
    const line = height - 4 - 17 * (legend - 1 - index);
    svg.append(draw("circle", {cx: left + 6, cy: line - 4, r: 4, fill: toneOf(index)}),
      draw("text", {x: left + 16, y: line}, ...shorten(EXPERIMENTS[index].name, 130)));
  }
  showChart("boxes", metric, svg,
    `${titleOf(metric)}: a dot per case, the box from the first to the third quartile, its line ` +
    "the median. Click a dot to choose its case.");
}

function caseTable() {
  const metric = state.metric, names = DATA.class_names.slice(1), cases = casesOf(metric);
  const columns = [{key: "case_id", title: "case", of: one => one.case_id}];
  if (cases[0]?.fold !== undefined) columns.push({key: "fold", title: "fold", of: one => one.fold});
  EXPERIMENTS.forEach((experiment, index) => {
    const prefix = EXPERIMENTS.length > 1 ? `${letterOf(index)} ` : "";
    columns.push({key: `mean${index}`, title: `${prefix}mean`, of: one => one.means[index]});
    names.forEach(name => columns.push({key: `${index}/${name}`, title: prefix + name,
      of: one => one.values[index][name] ?? null}));
  });
  if (EXPERIMENTS.length === 2) {
    columns.push({key: "gain", title: "B − A",
      of: one => one.means.includes(null) ? null : one.means[1] - one.means[0]});
  }
  const {key, down} = state.sort.key ? state.sort : {key: "mean0", down: !rises(metric)};
  const column = columns.find(one => one.key === key) || columns[0];
  const end = down === !rises(metric) ? "worst" : "best", ofA = EXPERIMENTS.length > 1 ? " of A" : "";
  const ordered = [...cases].sort((one, other) => {
    const [a, b] = [column.of(one), column.of(other)];
    if (a === b) return one.case_id < other.case_id ? -1 : 1;
    if (a === null) return 1;
    if (b === null) return -1;
    return (a < b ? -1 : 1) * (down ? -1 : 1);
  });
  const heading = columns.map(one => {
    const active = one.key === column.key;
    const button = make("button", {type: "button"}, one.title + (active ? (down ? " ↓" : " ↑") : ""));
    button.addEventListener("click", () => {
      state.sort = {key: one.key, down: active ? !down : false};
      caseTable();
      byId("cases").querySelectorAll("thead button")[columns.indexOf(one)]?.focus();
    });
    return make("th", {scope: "col", "aria-sort": active ? (down ? "descending" : "ascending")
      : "none"}, button);
  });
  const viewable = new Set(DATA.cases.map(one => one.case_id));
  const body = ordered.map(one => make("tr", {className: one.case_id === state.chosen ? "chosen" : "",
    "data-case": one.case_id}, ...columns.map(each => {
      const value = each.of(one);
      if (each.key === "case_id" && viewable.has(value)) {
        const button = make("button", {type: "button"}, value);
        button.addEventListener("click", () => choose(value));
        return make("td", {}, button);
      }
      if (each.key === "gain") return make("td", {}, signed(value, metric));
      return make("td", {}, typeof value === "number" && each.key !== "fold"
        ? show(value, metric) : String(value ?? "–"));
    })));
  byId("cases").replaceChildren(
    make("caption", {className: "note"}, `${titleOf(metric)} of each case` +
      (column.key === "mean0" ? `, ${end}${ofA} first` : "") + (EXPERIMENTS.length > 1 ? ". " + EXPERIMENTS.map(
        (one, index) => `${letterOf(index)}: ${one.name}`).join(", ") : "")),
    make("thead", {}, make("tr", {}, ...heading)), make("tbody", {}, ...body));
  return ordered;
}
