"use strict";
(function () {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  const views = {};  // by benchmark and figure
  const choices = {};  // chosen in a select, by figure and parameter
  let chosen = {};  // method under the pointer, by benchmark

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  const section = (benchmark) => document.querySelector(`[data-benchmark="${benchmark}"]`);
  const shown = (benchmark) =>
    [...section(benchmark).querySelectorAll("table.main tbody tr")]
      .filter((row) => row.querySelector("input").checked)
      .map((row) => row.dataset.method);

  function config(printing) {
    const dark = isDark() && !printing;
    const ink = dark ? "#d5d7dc" : "#33363c";
    const line = dark ? "#363a43" : "#e3e5e9";
    return {
      background: null,
      font: "system-ui, -apple-system, Segoe UI, Roboto, Arial, sans-serif",
      view: { stroke: null },
      axis: {
        labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line,
        labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal",
      },
      legend: { labelColor: ink, titleColor: ink },
      header: { labelColor: ink, titleColor: ink },
      text: { fontSize: 11 },
      mark: { aria: false },  // one description for the chart, not one for each of hundreds of marks
    };
  }

  // a chart as wide as its place allows
  function fitted(spec, room, printing) {
    const copy = JSON.parse(JSON.stringify(spec));
    if (copy.facet) {
      copy.columns = Math.max(1, Math.min(copy.columns || 4, Math.floor(room / 190)));
      copy.spec.width = Math.max(90, Math.floor(room / copy.columns) - 60);
    } else if (typeof copy.width === "number") {
      if (typeof copy.height === "number") {
        copy.width = Math.min(copy.width + 140, room - 10);
        copy.autosize = { type: "fit-x", contains: "padding" };
      } else {
        copy.width = Math.max(160, Math.min(copy.width, room - 260));
      }
      if (printing || room < 480) copy.height = Math.min(copy.height, printing ? 250 : 280);
    }
    return copy;
  }

  async function draw(place, printing) {
    const key = place.dataset.figure;
    const benchmark = key.split("/")[0];
    const room = printing ? 680 : Math.max(260, place.clientWidth);
    if (views[key]) views[key].finalize();
    const result = await vegaEmbed(place, fitted(figures[key], room, printing), {
      config: config(printing), renderer: "svg", tooltip: { theme: isDark() ? "dark" : "light" },
      actions: { export: true, source: false, compiled: false, editor: false },
    });
    views[key] = result;
    set(key, "shown", benchmark === "across" ? null : shown(benchmark));
    for (const [name, value] of Object.entries(choices[key] || {})) set(key, name, value);
    await result.view.runAsync();
    place.dataset.drawn = "yes";
  }

  function set(key, signal, value) {
    if (value === null || !views[key]) return;
    try {
      views[key].view.signal(signal, value);
    } catch {
      return;  // this chart has no such parameter
    }
    views[key].view.runAsync();
  }

  async function drawAll(printing) {
    for (const place of document.querySelectorAll(".chart")) await draw(place, printing);
    root.dataset.drawn = "yes";
  }

  function setAll(benchmark, signal, value) {
    for (const key of Object.keys(views)) if (key.startsWith(benchmark + "/")) set(key, signal, value);
  }

  function choose(benchmark, method) {
    if (chosen[benchmark] === method) return;
    chosen[benchmark] = method;
    setAll(benchmark, "chosen", method);
    for (const row of section(benchmark).querySelectorAll("tr[data-method]"))
      row.classList.toggle("chosen", row.dataset.method === method);
  }

  function update(benchmark) {
    for (const row of section(benchmark).querySelectorAll("table.main tbody tr"))
      row.classList.toggle("off", !row.querySelector("input").checked);
    setAll(benchmark, "shown", shown(benchmark));
  }

  for (const part of document.querySelectorAll("[data-benchmark]")) {
    const benchmark = part.dataset.benchmark;
    for (const row of part.querySelectorAll("table.main tbody tr")) {
      row.querySelector("input").addEventListener("change", () => update(benchmark));
      row.addEventListener("pointerenter", () => choose(benchmark, row.dataset.method));
      row.addEventListener("pointerleave", () => choose(benchmark, ""));
      row.classList.toggle("off", !row.querySelector("input").checked);
    }
    for (const [name, value] of [["all", true], ["none", false]]) {
      const button = part.querySelector(`button.${name}`);
      if (button)
        button.addEventListener("click", () => {
          for (const box of part.querySelectorAll("table.main input")) box.checked = value;
          update(benchmark);
        });
    }
  }

  for (const select of document.querySelectorAll("select[data-parameter]"))
    select.addEventListener("change", () => {
      const key = select.closest("figure").querySelector(".chart").dataset.figure;
      choices[key] = { ...choices[key], [select.dataset.parameter]: select.value };
      set(key, select.dataset.parameter, select.value);
    });

  for (const table of document.querySelectorAll("table.sortable"))
    table.querySelectorAll("thead th").forEach((head, index) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") === "descending" || (head.getAttribute("aria-sort") === "none" && head.classList.contains("text"));
        for (const other of table.querySelectorAll("thead th[aria-sort]")) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const value = (row) => {
          const cell = row.children[index];
          const number = parseFloat(cell.dataset.value);
          return cell.dataset.value === undefined ? cell.textContent.trim() : number;
        };
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (typeof x === "string") return ascending ? x.localeCompare(y) : y.localeCompare(x);
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
          return ascending ? x - y : y - x;
        });
        table.tBodies[0].append(...rows);
      });
    });

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    drawAll(false);
  });
  media.addEventListener("change", () => drawAll(false));
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width || window.matchMedia("print").matches) return;
    width = window.innerWidth;
    drawAll(false);
  });
  window.addEventListener("beforeprint", () => drawAll(true));
  window.addEventListener("afterprint", () => drawAll(false));
  drawAll(false);
})();
