// Tables as CSV and charts as SVG or PNG, made in the page: nothing is asked of a server.

function save(name, url) {
  const link = make("a", {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
}

function saveButton(label, name, urlOf) {
  const button = make("button", {type: "button", className: "save",
    title: `download ${name}`}, label);
  button.addEventListener("click", async () => save(name, await urlOf()));
  return button;
}

/** A file's name: the report's title and what is in the file; file systems allow 255 bytes. */
const fileName = what => `${DATA.title} ${what}`.replace(/[^\p{L}\p{N}.-]+/gu, "_").slice(-100);

// ---------------------------------------------------------------- tables

/** A cell; a text that a spreadsheet would compute gets a ' in front, as in per_case.csv. */
function csvCell(value) {
  let text = String(value ?? "");
  if (/^'*[=+\-@\t\r\n]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csvText = rows => rows.map(row => row.map(csvCell).join(",") + "\n").join("");
const csvUrl = text => "data:text/csv;charset=utf-8," + encodeURIComponent(text);

/** What a table shows, without the arrow of its sorted column; signs and gaps as CSV has them. */
function cellsOf(element) {
  return [...element.rows].map(row => [...row.cells].map(cell => {
    const text = cell.textContent.replace(/ [↓↑]$/, "").replaceAll("−", "-");
    return text === "–" ? "" : text;
  }));
}

/** For a file's name: of which experiment it is, where that is not the title already. */
const ofOne = one => EXPERIMENTS.length > 1 ? ` ${one.name}` : "";

/** A table that scrolls, and the button that downloads what it shows. */
function tableBox(what, element) {
  const name = fileName(`${what}.csv`);
  return make("div", {}, make("div", {className: "scroll"}, element),
    saveButton("CSV", name, () => csvUrl(csvText(cellsOf(element)))));
}

/** Every score of every case, with all digits. */
function scoresCsv() {
  const heading = ["experiment", "fold", "case_id", "class_name", "empty", ...DATA.metrics];
  const rows = EXPERIMENTS.flatMap(one => one.rows.map(row =>
    [one.name, ...heading.slice(1).map(key => row[key])]));
  return csvText([heading, ...rows]);
}

// ---------------------------------------------------------------- charts

const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "font-family", "font-size",
  "font-weight"];

/** A chart as a file of its own, with the colours that the page's style gives it now. */
function svgText(svg) {
  const copy = svg.cloneNode(true), copies = [copy, ...copy.querySelectorAll("*")];
  [svg, ...svg.querySelectorAll("*")].forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of STYLES) copies[index].style.setProperty(name, style.getPropertyValue(name));
  });
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const ground = getComputedStyle(document.documentElement).getPropertyValue("--card");
  copy.prepend(draw("rect", {width, height, fill: ground}));
  return new XMLSerializer().serializeToString(copy);
}

const svgUrl = svg => "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svgText(svg));

/** A chart as a PNG of twice its size. */
function pngUrl(svg) {
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  return new Promise((done, fail) => {
    const image = make("img");
    image.addEventListener("load", () => {
      const canvas = make("canvas", {width: 2 * width, height: 2 * height});
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      done(canvas.toDataURL("image/png"));
    });
    image.addEventListener("error", () => fail(new Error("the chart cannot be drawn")));
    image.setAttribute("src", svgUrl(svg));
  });
}

/** The chart's element shows `svg`, the buttons that download it, and a note. */
function showChart(id, what, svg, note) {
  byId(id).replaceChildren(svg, make("p", {className: "note"}, note),
    saveButton("SVG", fileName(`${what}.svg`), () => svgUrl(svg)),
    saveButton("PNG", fileName(`${what}.png`), () => pngUrl(svg)));
}
