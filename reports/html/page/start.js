// Puts the page together.

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
  volumes();
  boxes();
  const ordered = caseTable();
  byId("cases").closest(".scroll").after(
    saveButton("CSV", fileName("cases.csv"), () => csvUrl(csvText(cellsOf(byId("cases"))))),
    saveButton("CSV of all scores", fileName("scores.csv"), () => csvUrl(scoresCsv())));
  training();
  settings();
  const first = ordered.find(one => DATA.cases.some(found => found.case_id === one.case_id));
  if (first) choose(first.case_id);
}

start();
