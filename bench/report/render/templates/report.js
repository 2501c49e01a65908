"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // What is said in the report's language, with {0}, {1}, … filled in.
  const t = (text, ...values) => (data.words[text] ?? text).replace(/\{(\d)\}/g, (_, place) => values[place]);
  const byId = (id) => document.getElementById(id);
  // Told apart without colour too (colours: Okabe and Ito).
  const COLOURS = ["#1f7ec2", "#d55e00", "#00946c", "#c46a9b", "#a87f00", "#2f8fc4", "#9467bd", "#a0685c", "#4f8a10", "#e7298a"];
  const MARKERS = ["circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "hexagon", "cross", "triangle-down"];
  const names = data.variants.map((one) => one.name);
  const colourOf = (name) => COLOURS[names.indexOf(name) % COLOURS.length];
  // The eleventh has the colour of the first and another marker.
  const markerOf = (name) => MARKERS[(names.indexOf(name) + Math.floor(names.indexOf(name) / COLOURS.length)) % MARKERS.length];
  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
  // What a label says is text: the charts would take some tags of it for their own.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // --- theme --------------------------------------------------------------------------------
  const root = document.documentElement;
  const setTheme = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    byId("theme").setAttribute("aria-pressed", String(dark));
    drawAll();
  };
  const layout = (more) => {
    const style = getComputedStyle(root);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, size: 13 }, margin: { l: 60, r: 16, t: 16, b: 56 },
      ...more, xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
    };
  };
  const draw = (id, traces, more) =>
    Plotly.react(byId(id), traces, layout(more), { displayModeBar: false, responsive: true, showSendToCloud: false });

  // --- accuracy and cost --------------------------------------------------------------------
  const bars = (points, direction) => {
    const known = points.every((one) => one[direction].low !== null);
    if (!known) return undefined;
    return {
      type: "data", symmetric: false, thickness: 1.2,
      array: points.map((one) => one[direction].high - one[direction].value),
      arrayminus: points.map((one) => one[direction].value - one[direction].low),
    };
  };
  // Whole labels at 1, 2 and 5: the chart's own are the digits alone.
  const logarithmic = (values) => {
    const known = values.filter((value) => value > 0);
    const lowest = Math.floor(Math.log10(Math.min(...known)));
    const ticks = [];
    for (let power = lowest; power <= Math.log10(Math.max(...known)) + 1; power += 1) {
      [1, 2, 5].forEach((digit) => ticks.push(digit * 10 ** power));
    }
    return known.length ? { type: "log", tickvals: ticks, ticktext: ticks.map(number) } : { type: "log" };
  };
  const drawScatter = () => {
    if (!byId("scatter")) return;
    const axis = data.axes.find((one) => one.key === byId("axis").value);
    const points = data.variants
      .filter((one) => one.accuracy && one.costs[axis.key])
      .map((one) => ({ name: one.name, apart: one.reason !== "", x: one.costs[axis.key], y: one.accuracy }));
    const traces = points.map((one) => ({
      type: "scatter", mode: "markers", name: plain(one.name), x: [one.x.value], y: [one.y.value],
      error_x: bars([one], "x"), error_y: bars([one], "y"),
      marker: {
        size: 12, color: colourOf(one.name), line: { width: 2, color: colourOf(one.name) },
        symbol: markerOf(one.name) + (one.y.undertrained ? "-open" : ""),
      },
      customdata: [[plain(one.name), plain(axis.label), one.x.text]],
      hovertemplate: `%{customdata[0]}<br>${t("accuracy")} %{y:.1f} %<br>%{customdata[1]}: %{customdata[2]}<extra></extra>`,
    }));
    const front = points.filter((one) => axis.front.includes(one.name)).sort((a, b) => a.x.value - b.x.value);
    if (front.length) traces.unshift({
      type: "scatter", mode: "lines", name: t("Pareto front {0}", data.scope), hoverinfo: "skip",
      x: front.map((one) => one.x.value), y: front.map((one) => one.y.value),
      line: { dash: "dot", width: 1.5, color: "#808080" },
    });
    const values = points.map((one) => one.x.value);
    draw("scatter", traces, {
      xaxis: { title: { text: plain(axis.label) }, ...(byId("log").checked ? logarithmic(values) : { type: "linear" }) },
      yaxis: { title: { text: t("accuracy (%)") } },
      legend: { orientation: "h", y: -0.25 }, showlegend: true,
    });
    const what = t("Accuracy over {0}: {1} variants", axis.label, points.length);
    const apart = points.filter((one) => one.apart).map((one) => one.name);
    byId("scatter-text").textContent = (front.length
      ? what + t("; on the Pareto front {0}: {1}.", data.scope, front.map((one) => one.name).join(", "))
      : what + t("; no Pareto front ({0}).", axis.no_front))
      + (apart.length ? t(" Not compared with the others (other data or settings, or undertrained): {0}.", apart.join(", ")) : "");
  };

  // --- training curves ----------------------------------------------------------------------
  const drawCurves = () => {
    if (!byId("curve-chart")) return;
    const key = byId("curve").value;
    const label = byId("curve").selectedOptions[0].textContent;
    const chosen = [...document.querySelectorAll(".curve-of")].filter((box) => box.checked).map((box) => data.curves[box.value]);
    const traces = chosen.map((one) => ({
      type: "scatter", mode: "lines+markers", name: plain(one.name), x: one.epoch, y: one[key],
      line: { color: colourOf(one.name) }, marker: { symbol: markerOf(one.name), size: 7 },
    }));
    const longest = Math.max(1, ...chosen.map((one) => one.epoch[one.epoch.length - 1] ?? 1));
    draw("curve-chart", traces, {
      xaxis: { title: { text: t("epoch") }, tick0: 0, dtick: Math.max(1, Math.ceil(longest / 12)) }, yaxis: { title: { text: label } },
      legend: { orientation: "h", y: -0.25 }, showlegend: true,
    });
    byId("curve-text").textContent = chosen
      .map((one) => {
        const known = one[key].filter((value) => value !== null);
        if (!known.length) return `${one.name}: n/a`;
        const best = one.best === null ? "" : t(" (best epoch {0})", one.best);
        return t("{0}: {1} after {2} epochs{3}", one.name, number(known[known.length - 1]), one.epoch.length, best);
      })
      .join("; ") || t("No variant is chosen.");
  };

  // --- confusion ----------------------------------------------------------------------------
  const drawMatrix = () => {
    if (!byId("matrix-chart")) return;
    const one = data.confusion[byId("matrix").value];
    byId("matrix-chart").hidden = one.counts === null;
    const worst = one.worst.map((pair) => t("{0} taken for {1}: {2} of {3}", pair.true, pair.predicted, pair.images, pair.of));
    byId("matrix-text").textContent = t("{0}, {1} part. ", one.name, one.part)
      + (worst.length ? t("Most confused: {0}.", worst.join("; ")) : t("No mistake."))
      + (one.counts === null ? t(" A matrix of {0} classes is not drawn.", one.classes.length) : "");
    if (one.counts === null) return;
    const shares = one.counts.map((row) => {
      const all = row.reduce((sum, count) => sum + count, 0);
      return row.map((count) => (all ? count / all : 0));
    });
    const few = one.classes.length <= 25;
    const labels = one.classes.map((name) => plain(name.length > 30 ? `${name.slice(0, 29)}…` : name));
    const places = labels.map((_, place) => place);
    draw("matrix-chart", [{
      type: "heatmap", z: shares, x: places, y: places, zmin: 0, zmax: 1, colorscale: [[0, "#f2f4f7"], [1, "#0b4f9e"]],
      text: one.counts.map((row) => row.map((count) => (count ? String(count) : ""))),
      texttemplate: few ? "%{text}" : "", customdata: one.counts,
      hovertemplate: `${t("true {0}", "%{y}")}<br>${t("predicted {0}", "%{x}")}<br>${t("{0} images", "%{customdata}")}<extra></extra>`, showscale: false,
    }], {
      xaxis: { title: { text: t("predicted class") }, tickvals: places, ticktext: labels, tickangle: -45 },
      yaxis: { title: { text: t("true class") }, tickvals: places, ticktext: labels, autorange: "reversed" },
    });
  };

  const drawAll = () => { drawScatter(); drawCurves(); drawMatrix(); };

  // --- tables -------------------------------------------------------------------------------
  const compare = (a, b) => {
    // What has no number stands last, in either direction.
    if (a.number === null || b.number === null) {
      if (a.number === b.number) return a.text.localeCompare(b.text, "en");
      return null;
    }
    return a.number - b.number;
  };
  const sortBy = (table, place, descending) => {
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => {
      const cell = row.cells[place];
      return { row, text: cell.textContent, number: "sort" in cell.dataset ? Number(cell.dataset.sort) : null };
    });
    keyed.sort((a, b) => {
      const found = compare(a, b);
      if (found === null) return a.number === null ? 1 : -1;
      return descending ? -found : found;
    });
    body.append(...keyed.map((one) => one.row));
  };
  document.querySelectorAll("table").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      head.querySelector("button").addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sortBy(table, place, descending);
      });
    });
  });
  const filter = () => {
    const wanted = byId("filter").value.trim().toLowerCase();
    const rows = [...byId("compare-table").tBodies[0].rows];
    rows.forEach((row) => { row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted); });
    const shown = rows.filter((row) => !row.hidden).length;
    byId("filter-count").textContent = wanted ? t("{0} of {1} shown", shown, rows.length) : "";
  };

  // --- what a reader can do -------------------------------------------------------------------
  byId("filter").addEventListener("input", filter);
  byId("theme").addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));
  [["axis", drawScatter], ["log", drawScatter], ["curve", drawCurves], ["matrix", drawMatrix]].forEach(([id, act]) => {
    if (byId(id)) byId(id).addEventListener("change", act);
  });
  document.querySelectorAll(".curve-of").forEach((box) => box.addEventListener("change", drawCurves));
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.ready = "yes";
})();
