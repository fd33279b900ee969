// What all parts of the page use: elements, numbers, axes.

const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const COLOURS = DATA.palette, EXPERIMENTS = DATA.experiments;
const letterOf = index => index < 26 ? String.fromCharCode(65 + index) : `Run ${index + 1}`;
const toneOf = index => COLOURS[[6, 5, 2, 4, 0, 1][index % 6]];

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

const infoOf = metric => DATA.metric_info[metric];
const rises = metric => infoOf(metric).rises;      // whether more of it is better
const digits = metric => infoOf(metric).digits;
const titleOf = metric => infoOf(metric).title;
const show = (value, metric) => value === null || value === undefined ? "–"
  : value.toFixed(digits(metric));
const signed = (value, metric) => value === null ? "–"
  : (value > 0 ? "+" : "") + value.toFixed(digits(metric));

function mean(values) {
  const known = values.filter(value => value !== null && value !== undefined);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

/** Sample standard deviation, of two values or more. */
function deviation(values) {
  const middle = mean(values);
  const squares = values.map(value => (value - middle) ** 2);
  return Math.sqrt(squares.reduce((a, b) => a + b, 0) / (values.length - 1));
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
