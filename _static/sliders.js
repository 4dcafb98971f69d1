/* Draws what sliders of a page change. The numbers are in the page, limits already rounded outwards:
   nothing is computed here, and nothing is fetched. Without this script the sliders stay hidden. */
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";

  function add(parent, name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.appendChild(node);
    return node;
  }

  /* Place of a setting in a flat list, the last control changing fastest. */
  function place(controls, at) {
    return controls.reduce((sum, control, i) => sum * control.texts.length + at[i], 0);
  }

  function settingText(controls, at) {
    return controls.map((control, i) => `${control.name} = ${control.texts[at[i]]}`).join(", ");
  }

  function curvesText(spec, at) {
    const here = place(spec.controls, at);
    const told = spec.series.map(
      (series) => `${series.name} at most ${series.values[here].toFixed(spec.decimals)}`);
    const below = spec.series[spec.series.length - 1].values[here] < spec.line.value;
    const line = `${spec.line.name} (${spec.line.value.toFixed(spec.decimals)})`;
    return `${settingText(spec.controls, at)}: ${told.join(", ")} ${spec.unit}; ` +
      (below ? `below ${line}.` : `not shown to be below ${line}.`);
  }

  function legend(box, spec) {
    const list = document.createElement("p");
    list.className = "saecert-legend";
    spec.series.forEach((series, i) => {
      const item = document.createElement("span");
      item.className = `saecert-key s${i}`;
      item.textContent = series.name;
      list.appendChild(item);
    });
    const line = document.createElement("span");
    line.className = "saecert-key line";
    line.textContent = spec.line.name;
    list.appendChild(line);
    box.appendChild(list);
  }

  /* One curve a series over the last control; the setting is marked. */
  function drawCurves(svg, width, spec, at) {
    const height = 270, left = 46, right = 14, top = 12, bottom = 44;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const axis = spec.controls.length - 1;
    const texts = spec.controls[axis].texts;
    const all = spec.series.flatMap((series) => series.values).concat(spec.line.value);
    const low = Math.floor(Math.min(...all)), high = Math.ceil(Math.max(...all));
    const step = Math.max(1, (width - left - right) / Math.max(1, texts.length - 1));
    const x = (i) => left + (texts.length > 1 ? i * step : (width - left - right) / 2);
    const y = (value) => top + (height - top - bottom) * (high - value) / (high - low || 1);
    const jump = high - low > 8 ? 2 : 1;
    for (let value = low; value <= high; value += jump) {
      add(svg, "line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) });
      add(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value);
    }
    const every = Math.ceil(44 / step);
    texts.forEach((text, i) => {
      if ((texts.length - 1 - i) % every) return;
      add(svg, "text", { x: x(i), y: height - bottom + 17, "text-anchor": "middle" }, text);
    });
    add(svg, "text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" },
      spec.controls[axis].label);
    add(svg, "text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, spec.unit);
    add(svg, "line", { class: "here", x1: x(at[axis]), x2: x(at[axis]), y1: top, y2: height - bottom });
    add(svg, "line", { class: "line", x1: left, x2: width - right,
      y1: y(spec.line.value), y2: y(spec.line.value) });
    spec.series.forEach((series, i) => {
      const values = texts.map(
        (_, j) => series.values[place(spec.controls, [...at.slice(0, axis), j])]);
      const points = values.map((value, j) => `${x(j)},${y(value)}`).join(" ");
      add(svg, "polyline", { class: `s${i}`, points });
      add(svg, "circle", { class: `s${i}`, cx: x(at[axis]), cy: y(values[at[axis]]), r: 5 });
    });
  }

  function rowsText(spec, at) {
    const told = spec.rows.map((row) => `${row.name} ${row.texts[at[0]]}`);
    return `${settingText(spec.controls, at)}: ${told.join("; ")}.`;
  }

  /* One strip a quantity: the layer's limits on a scale of its own, other layers as faint marks. */
  function drawRows(svg, width, spec, at) {
    const row = 46, left = 8, right = 8;
    svg.setAttribute("viewBox", `0 0 ${width} ${row * spec.rows.length}`);
    svg.setAttribute("height", row * spec.rows.length);
    spec.rows.forEach((quantity, i) => {
      const top = i * row, middle = top + 32;
      const most = Math.max(...quantity.upper, ...quantity.mean) || 1;
      const x = (value) => left + (width - left - right) * Math.max(0, value) / most;
      const here = at[0];
      add(svg, "text", { x: left, y: top + 17 }, `${quantity.name}: ${quantity.texts[here]}`);
      add(svg, "line", { class: "grid", x1: x(0), x2: x(most), y1: middle, y2: middle });
      quantity.mean.forEach((value) => {
        add(svg, "circle", { class: "faint", cx: x(value), cy: middle, r: 4 });
      });
      const lower = quantity.lower[here] === null ? quantity.mean[here] : quantity.lower[here];
      const upper = quantity.upper[here] === null ? most : quantity.upper[here];
      add(svg, "line", { class: "s0", x1: x(lower), x2: x(upper), y1: middle, y2: middle });
      add(svg, "line", { class: "s0", x1: x(upper), x2: x(upper),
        y1: middle - 6, y2: middle + 6 });
      add(svg, "circle", { class: "s0", cx: x(quantity.mean[here]), cy: middle, r: 5 });
    });
  }

  const KINDS = {
    curves: { text: curvesText, draw: drawCurves },
    rows: { text: rowsText, draw: drawRows },
  };

  function start(root) {
    const spec = JSON.parse(root.querySelector("script").textContent);
    const kind = KINDS[spec.kind];
    const at = spec.controls.map((control) => control.start);
    const output = root.querySelector("output");
    const box = root.querySelector(".saecert-drawing");
    const svg = add(box, "svg", { role: "img", width: "100%" });
    if (spec.kind === "curves") legend(box, spec);
    const draw = () => {
      const said = kind.text(spec, at);
      output.textContent = said;
      svg.replaceChildren();
      svg.setAttribute("aria-label", `${root.querySelector(".saecert-title").textContent}. ${said}`);
      kind.draw(svg, Math.max(280, box.clientWidth), spec, at);
    };
    spec.controls.forEach((control, i) => {
      const input = root.querySelector(`#${root.id}-${i}`);
      if (!input) return;
      input.addEventListener("input", () => {
        at[i] = Number(input.value);
        const text = control.texts[at[i]];
        input.setAttribute("aria-valuetext", text);
        input.nextElementSibling.textContent = text;
        draw();
      });
    });
    root.hidden = false;
    draw();
    window.addEventListener("resize", draw);
  }

  const begin = () => document.querySelectorAll(".saecert-sliders").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
