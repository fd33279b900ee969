"use strict";
(() => {
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const COLOURS = DATA.palette, EXPERIMENTS = DATA.experiments;
const letterOf = index => index < 26 ? String.fromCharCode(65 + index) : `Run ${index + 1}`;
const toneOf = index => COLOURS[[6, 5, 2, 4, 0, 1][index % 6]];

// ---------------------------------------------------------------- small tools

/** An element with properties and children; text is always text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const isDice = metric => metric === "dice";
const digits = metric => isDice(metric) ? 3 : 2;
const show = (value, metric) => value === null || value === undefined ? "–"
  : value.toFixed(digits(metric));
const signed = (value, metric) => value === null ? "–"
  : (value > 0 ? "+" : "") + value.toFixed(digits(metric));

function titleOf(metric) {
  const unit = metric.endsWith("_mm") ? " [mm]" : metric.endsWith("_voxels") ? " [voxels]" : "";
  const bare = metric.replace(/_(mm|voxels)$/, "");
  return ({dice: "Dice", msd_label_to_pred: "MSD back"}[bare] || bare.toUpperCase()) + unit;
}

function mean(values) {
  const known = values.filter(value => value !== null && value !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

function quantile(sorted, q) {
  const at = (sorted.length - 1) * q, low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

function ticks(low, high, about = 6) {
  const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(n => n * power).find(n => n >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found.map(at => Number(at.toPrecision(10)));
}

/** A text that takes no more than so many characters; the whole is its tooltip. */
function shorten(text, length) {
  return text.length <= length ? [text] : [text.slice(0, Math.max(1, length - 1)) + "…",
    draw("title", {}, text)];
}

/** A table from a heading and rows of strings or elements. */
function table(heading, rows, properties = {}) {
  return make("table", properties,
    make("thead", {}, make("tr", {}, ...heading.map(text => make("th", {scope: "col"}, text)))),
    make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map((cell, index) =>
      make(index ? "td" : "th", index ? {} : {scope: "row", style: "font-weight:500"}, cell))))));
}

// ---------------------------------------------------------------- scores

const casesIn = one => new Set(one.rows.map(row => row.case_id)).size;

/** What a reader must know of these scores to read them rightly. */
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
    "cases. Higher Dice is better, shorter distances are better. HD95: the larger 95th percentile " +
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
        const spread = middle === null ? null
          : Math.sqrt(mean(values.map(value => (value - middle) ** 2)));
        return middle === null ? "–" : `${show(middle, metric)} ± ${show(spread, metric)}`;
      })];
    });
    byId("classes").append(make("div", {className: "scroll"},
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
    byId("compared").append(make("div", {className: "scroll"}, table(
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
    (EXPERIMENTS.some(one => one.about.folds) ? " The folds' training sets overlap, so that cases " +
    "are not quite independent: read a p near 0.05 with care." : "")));
}

// ---------------------------------------------------------------- cases: boxes and table

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
  const low = isDice(metric) ? Math.max(0, Math.min(...all) - 0.03) : 0;
  const high = isDice(metric) ? 1 : Math.max(...all) * 1.05 || 1;
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
  byId("boxes").replaceChildren(svg, make("p", {className: "note"},
    `${titleOf(metric)}: a dot per case, the box from the first to the third quartile, its line ` +
    "the median. A click on a dot chooses the case."));
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
  const {key, down} = state.sort.key ? state.sort : {key: "mean0", down: !isDice(metric)};
  const column = columns.find(one => one.key === key) || columns[0];
  const end = down === !isDice(metric) ? "worst" : "best", ofA = EXPERIMENTS.length > 1 ? " of A" : "";
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

// ---------------------------------------------------------------- viewer

// Plane, the axis it is cut along, the one across and the one upwards. Volumes are in RAS order;
// patient left is on the right, as radiologists look at it, and anterior on the left.
const PLANES = [{name: "axial", cut: 2, across: 0, up: 1}, {name: "coronal", cut: 1, across: 0, up: 2},
  {name: "sagittal", cut: 0, across: 1, up: 2}];
const LAYERS = [["image", "i"], ["label", "l"], ["prediction", "p"], ["difference", "d"]];
const viewer = {case: null, volumes: null, at: [0, 0, 0], of: 0, load: 0,
  layers: {image: true, label: true, prediction: true, difference: false}, planes: []};

async function unpacked(index) {
  const text = atob(byId(`volume-${index}`).textContent);
  const bytes = Uint8Array.from(text, letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function choose(caseId) {
  const index = DATA.cases.findIndex(one => one.case_id === caseId);
  state.chosen = caseId;
  for (const row of byId("cases").querySelectorAll("tbody tr")) {
    row.className = row.dataset.case === caseId ? "chosen" : "";
    if (row.className) uncover(row);
  }
  if (index < 0) return;
  const load = ++viewer.load, found = DATA.cases[index];
  let all = null;
  try {
    all = await unpacked(index);
  } catch (error) {
    byId("viewer").hidden = false;
    byId("viewer").replaceChildren(make("p", {className: "note"},
      `The volumes cannot be shown in this browser; a newer one can (${error.message}).`));
  }
  if (!all || load !== viewer.load) return;  // or another case was chosen meanwhile
  const size = found.shape[0] * found.shape[1] * found.shape[2];
  viewer.case = found;
  viewer.volumes = Array.from({length: 2 + found.of.length},
    (_, number) => all.subarray(number * size, (number + 1) * size));
  viewer.of = Math.min(viewer.of, found.of.length - 1);
  viewer.at = busiest(found.shape, viewer.volumes[1], viewer.volumes[2]);
  build();
}

/** Scroll the table, and nothing but it, so far that the row is seen. */
function uncover(row) {
  const box = row.closest(".scroll"), head = byId("cases").tHead.offsetHeight;
  if (row.offsetTop - head < box.scrollTop) box.scrollTop = row.offsetTop - head;
  const over = row.offsetTop + row.offsetHeight - box.clientHeight;
  if (over > box.scrollTop) box.scrollTop = over;
}

const place = (shape, x, y, z) => (x * shape[1] + y) * shape[2] + z;

/** The slices with the most foreground. */
function busiest(shape, label, prediction) {
  const count = map => {
    const sums = shape.map(size => new Uint32Array(size));
    let at = 0, any = false;
    for (let x = 0; x < shape[0]; x++) for (let y = 0; y < shape[1]; y++) {
      for (let z = 0; z < shape[2]; z++) {
        if (map[at++]) { sums[0][x]++; sums[1][y]++; sums[2][z]++; any = true; }
      }
    }
    return any ? sums.map(sum => sum.indexOf(Math.max(...sum))) : null;
  };
  return count(label) || count(prediction) || shape.map(size => size >> 1);
}

function build() {
  const box = byId("viewer"), found = viewer.case;
  // What has the focus keeps it, so that the keys go on working where they did.
  const focused = [...box.querySelectorAll("input, select, canvas")].indexOf(document.activeElement);
  box.hidden = false;
  const tools = make("div", {className: "tools"}, ...LAYERS.map(([name, key]) => {
    const input = make("input", {type: "checkbox", checked: viewer.layers[name], id: `layer-${name}`});
    input.addEventListener("change", () => { viewer.layers[name] = input.checked; paint(); });
    return make("label", {title: `key ${key}`}, input, ` ${name}`);
  }));
  if (found.of.length > 1) {
    const select = make("select", {id: "of", "aria-label": "prediction of"},
      ...found.of.map((name, index) => make("option", {value: index}, name)));
    select.value = viewer.of;
    select.addEventListener("change", () => { viewer.of = Number(select.value); paint(); });
    tools.append(select);
  }
  const lacking = EXPERIMENTS.map(one => one.name).filter(name => !found.of.includes(name));
  const whose = EXPERIMENTS.length < 2 || found.of.length > 1 ? "" : `Prediction of ${found.of[0]}. `;
  const without = lacking.length ? `Not shown, for want of volumes on the same grid: ${
    lacking.join(", ")}. ` : "";
  for (let index = 1; index < DATA.class_names.length; index++) {
    tools.append(make("span", {}, swatch(colourOf(index)), DATA.class_names[index]));
  }
  tools.append(make("span", {}, swatch(MISSED), "missed"), make("span", {}, swatch(ADDED),
    "added or of another class"));
  viewer.planes = PLANES.map(plane => {
    const canvas = make("canvas", {tabIndex: 0, "aria-label":
      `${plane.name} plane; arrow keys or the wheel change the slice, a click moves the others`});
    const slider = make("input", {type: "range", min: 0, max: found.shape[plane.cut] - 1,
      "aria-label": `${plane.name} slice`});
    const caption = make("span", {});
    slider.addEventListener("input", () => go(plane.cut, Number(slider.value)));
    canvas.addEventListener("wheel", event => {
      if (event.ctrlKey || !event.deltaY) return;  // the browser's zoom
      const to = viewer.at[plane.cut] + Math.sign(event.deltaY);
      if (to < 0 || to >= found.shape[plane.cut]) return;  // past the end the page scrolls on
      event.preventDefault();
      go(plane.cut, to);
    }, {passive: false});
    canvas.addEventListener("keydown", event => {
      const by = {ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10,
        PageDown: -10}[event.key];
      if (by) { event.preventDefault(); go(plane.cut, viewer.at[plane.cut] + by); }
    });
    const point = event => {
      const area = canvas.getBoundingClientRect();
      const across = (event.clientX - area.left) / area.width;
      const down = (event.clientY - area.top) / area.height;
      go(plane.across, Math.floor((1 - across) * found.shape[plane.across]), false);
      go(plane.up, Math.floor((1 - down) * found.shape[plane.up]));
    };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId);
      point(event); });
    canvas.addEventListener("pointermove", event => { if (event.buttons) point(event); });
    return {...plane, canvas, slider, caption};
  });
  box.replaceChildren(
    make("h3", {}, found.case_id), tools,
    make("div", {className: "planes"}, ...viewer.planes.map(one => make("figure", {}, one.canvas,
      one.slider, make("figcaption", {}, make("span", {}, one.name), one.caption)))),
    make("p", {className: "note"}, whose + without + "Label filled, prediction outlined; of an image " +
      "of several channels the first. Wheel, arrow keys or the " +
      "slider change a slice, a click moves the other planes; keys i l p d toggle the layers, " +
      "n and b go to the next case of the table and back. Patient left is on the right of the " +
      "axial and coronal planes, anterior at the top of the axial and on the left of the sagittal. " +
      `Voxels ${found.spacing_mm.map(mm => mm.toFixed(2)).join(" × ")} mm.`));
  box.querySelectorAll("input, select, canvas")[focused]?.focus({preventScroll: true});
  paint();
}

const MISSED = "#ff3b30", ADDED = "#c77dff";
const colourOf = value => COLOURS[(value - 1) % COLOURS.length];
function swatch(colour) {
  const key = make("i", {className: "key"});
  key.style.background = colour;
  return key;
}

function go(axis, to, repaint = true) {
  viewer.at[axis] = Math.max(0, Math.min(viewer.case.shape[axis] - 1, to));
  if (repaint) paint();
}

function rgb(colour) {
  return [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
}

function paint() {
  const {shape, spacing_mm: spacing} = viewer.case, [image, label] = viewer.volumes;
  const prediction = viewer.volumes[2 + viewer.of], dark = "#000";
  for (const plane of viewer.planes) {
    const columns = shape[plane.across], rows = shape[plane.up];
    const zoom = Math.max(1, Math.round(440 / (columns * spacing[plane.across])
      * spacing[plane.across]));
    const width = columns * zoom;
    const height = Math.round(rows * spacing[plane.up] / spacing[plane.across] * zoom);
    const {canvas} = plane, context = canvas.getContext("2d");
    canvas.width = width;
    canvas.height = height;
    const pixels = new ImageData(columns, rows), fill = new ImageData(columns, rows);
    const at = [...viewer.at], classes = new Uint8Array(columns * rows);
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      at[plane.across] = columns - 1 - column;   // left on the right, anterior on the left
      at[plane.up] = rows - 1 - row;
      const from = place(shape, ...at), to = row * columns + column;
      const grey = viewer.layers.image ? image[from] * 255 / 63 : 0;
      pixels.data.set([grey, grey, grey, 255], to * 4);
      classes[to] = prediction[from];
      const [want, have] = [label[from], prediction[from]];
      if (viewer.layers.difference && want !== have) {
        fill.data.set([...rgb(want && !have ? MISSED : ADDED), 190], to * 4);
      } else if (viewer.layers.label && want) {
        fill.data.set([...rgb(colourOf(want)), 105], to * 4);
      }
    }
    context.fillStyle = dark;
    context.fillRect(0, 0, width, height);
    scaled(context, pixels, width, height, true);
    scaled(context, fill, width, height, false);
    if (viewer.layers.prediction) outline(context, classes, columns, rows, width, height);
    crosshair(context, plane, shape, width, height);
    plane.slider.value = viewer.at[plane.cut];
    plane.caption.textContent = `${"xyz"[plane.cut]} = ${viewer.at[plane.cut]} of `
      + `${shape[plane.cut] - 1}`;
  }
}

function scaled(context, pixels, width, height, smooth) {
  const small = make("canvas", {width: pixels.width, height: pixels.height});
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(small, 0, 0, width, height);
}

function outline(context, classes, columns, rows, width, height) {
  const [sx, sy] = [width / columns, height / rows];
  const at = (column, row) => column < 0 || row < 0 || column >= columns || row >= rows ? 0
    : classes[row * columns + column];
  for (const value of new Set(classes)) {
    if (!value) continue;
    const path = new Path2D();
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      if (at(column, row) !== value) continue;
      const [x, y] = [column * sx, row * sy];
      if (at(column, row - 1) !== value) { path.moveTo(x, y); path.lineTo(x + sx, y); }
      if (at(column, row + 1) !== value) { path.moveTo(x, y + sy); path.lineTo(x + sx, y + sy); }
      if (at(column - 1, row) !== value) { path.moveTo(x, y); path.lineTo(x, y + sy); }
      if (at(column + 1, row) !== value) { path.moveTo(x + sx, y); path.lineTo(x + sx, y + sy); }
    }
    for (const [stroke, wide] of [["rgba(0,0,0,.6)", 4], [colourOf(value), 2]]) {
      context.strokeStyle = stroke;
      context.lineWidth = wide;
      context.lineCap = "round";
      context.stroke(path);
    }
  }
}

function crosshair(context, plane, shape, width, height) {
  const x = (shape[plane.across] - viewer.at[plane.across] - 0.5) * width / shape[plane.across];
  const y = (shape[plane.up] - viewer.at[plane.up] - 0.5) * height / shape[plane.up];
  context.strokeStyle = "rgba(255,255,255,.28)";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, 0); context.lineTo(x, height);
  context.moveTo(0, y); context.lineTo(width, y);
  context.stroke();
}

document.addEventListener("keydown", event => {
  if (!viewer.case || event.ctrlKey || event.metaKey || event.altKey
      || ["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "range"
      && event.target.type !== "checkbox") return;
  const layer = LAYERS.find(([, key]) => key === event.key);
  if (layer) {
    viewer.layers[layer[0]] = !viewer.layers[layer[0]];
    byId(`layer-${layer[0]}`).checked = viewer.layers[layer[0]];
    paint();
  }
  const by = {n: 1, b: -1}[event.key];
  if (by) {
    const rows = [...byId("cases").querySelectorAll("tbody tr")].map(row => row.dataset.case)
      .filter(name => DATA.cases.some(one => one.case_id === name));
    choose(rows[(rows.indexOf(viewer.case.case_id) + by + rows.length) % rows.length]);
  }
});

// ---------------------------------------------------------------- training

function curves() {
  const runs = EXPERIMENTS.flatMap((one, index) => Object.entries(one.runs).map(([name, run]) => ({
    name, index, history: run.history}))).filter(run => run.history.length);
  byId("training").hidden = !runs.length;
  if (!runs.length) return;
  const keys = [...new Set(runs.flatMap(run => run.history.flatMap(Object.keys)))]
    .filter(key => key !== "epoch");
  const select = byId("curve");
  if (!select.options.length) {
    const first = ["val_dice", "loss"].filter(key => keys.includes(key));
    for (const key of [...first, ...keys.filter(key => !first.includes(key))]) {
      select.append(make("option", {value: key}, key));
    }
    select.addEventListener("change", curves);
  }
  const key = select.value, series = runs.map(run => ({...run, points: run.history
    .filter(line => typeof line[key] === "number").map(line => [line.epoch, line[key]])}));
  const all = series.flatMap(one => one.points);
  if (!all.length) {
    byId("curves").replaceChildren(make("p", {className: "note"}, `No epoch has a value of ${key}.`));
    return;
  }
  const width = 1000, height = 300, left = 62, foot = 30 + 16 * Math.ceil(series.length / 2), top = 12;
  const last = Math.max(...all.map(point => point[0]), 2);
  let [low, high] = [Math.min(...all.map(p => p[1])), Math.max(...all.map(p => p[1]))];
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const x = epoch => left + (epoch - 1) / (last - 1) * (width - left - 14);
  const y = value => top + (high - value) / (high - low) * (height - top - foot);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${key} by epoch`});
  for (const tick of ticks(low, high)) {
    svg.append(draw("line", {x1: left, x2: width, y1: y(tick), y2: y(tick), class: "axis"}),
      draw("text", {x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, String(tick)));
  }
  for (const tick of ticks(1, last, 8).filter(Number.isInteger)) {
    svg.append(draw("text", {x: x(tick), y: height - foot + 18, "text-anchor": "middle"},
      String(tick)));
  }
  series.forEach((one, number) => {
    const tone = runs.length === EXPERIMENTS.length ? toneOf(one.index)
      : COLOURS[(number + 5) % COLOURS.length];
    svg.append(draw("polyline", {fill: "none", stroke: tone, "stroke-width": 2.2,
      points: one.points.map(point => `${x(point[0])},${y(point[1])}`).join(" ")}));
    for (const point of one.points) {
      svg.append(draw("circle", {cx: x(point[0]), cy: y(point[1]), r: 2.6, fill: tone},
        draw("title", {}, `epoch ${point[0]}: ${point[1].toPrecision(5)}`)));
    }
    const [cx, cy] = [left + (number % 2) * (width - left) / 2, height - foot + 34
      + 16 * Math.floor(number / 2)];
    svg.append(draw("line", {x1: cx, x2: cx + 18, y1: cy - 4, y2: cy - 4, stroke: tone,
      "stroke-width": 3}), draw("text", {x: cx + 24, y: cy, class: "ink"},
        ...shorten(one.name, 60)));
  });
  byId("curves").replaceChildren(svg, make("p", {className: "note"}, `${key} by epoch`));
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

// ---------------------------------------------------------------- start

function start() {
  const scheme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.scheme = scheme;
  byId("scheme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.scheme = root.dataset.scheme === "dark" ? "light" : "dark";
  });
  for (const metric of DATA.metrics) {
    byId("metric").append(make("option", {value: metric}, titleOf(metric)));
  }
  byId("metric").addEventListener("change", event => {
    state.metric = event.target.value;
    state.sort = {key: null, down: false};
    boxes();
    caseTable();
  });
  scores();
  comparison();
  boxes();
  const ordered = caseTable();
  curves();
  settings();
  const first = ordered.find(one => DATA.cases.some(found => found.case_id === one.case_id));
  if (first) choose(first.case_id);
}

start();
})();
