// The volumes of a case in three planes.

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
  tools.append(saveButton("PNG", fileName(`${found.case_id}.png`), planesUrl));
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

/** The three planes as they are shown, side by side. */
function planesUrl() {
  const shown = viewer.planes.map(plane => plane.canvas);
  const width = shown.reduce((sum, canvas) => sum + canvas.width, 0);
  const whole = make("canvas", {width, height: Math.max(...shown.map(canvas => canvas.height))});
  let left = 0;
  for (const canvas of shown) {
    whole.getContext("2d").drawImage(canvas, left, 0);
    left += canvas.width;
  }
  return whole.toDataURL("image/png");
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
