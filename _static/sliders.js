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
    const last = spec.series[spec.series.length - 1];
    const below = last.values[here] < spec.line.value;
    const line = `${spec.line.name} (${spec.line.value.toFixed(spec.decimals)})`;
    return `${settingText(spec.controls, at)}: ${told.join(", ")} ${spec.unit}; ` +
      `the ${last.name} is ${below ? "" : "not "}below ${line}.`;
  }

  function element(parent, name, text, className) {
    const node = document.createElement(name);
    node.textContent = text;
    if (className) node.className = className;
    parent.appendChild(node);
    return node;
  }

  function canvas(box, width, height, attributes) {
    const shape = { width, height, viewBox: `0 0 ${width} ${height}` };
    return add(box, "svg", { ...shape, ...attributes });
  }

  function legend(box, spec) {
    const list = element(box, "p", "", "saecert-legend");
    spec.series.forEach((series, i) => element(list, "span", series.name, `saecert-key s${i}`));
    element(list, "span", spec.line.name, "saecert-key line");
  }

  /* One curve a series over the last control; the setting is marked. */
  function drawCurves(box, width, spec, at) {
    const height = 270, left = 46, right = 26, top = 12, bottom = 44;
    const svg = canvas(box, width, height, { role: "img", "aria-label": curvesText(spec, at) });
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
    legend(box, spec);
  }

  function rowsText(spec, at) {
    return `${settingText(spec.controls, at)}:`;
  }

  /* One line of text and one strip a quantity: the layer's limits on a scale of the quantity's own,
     the other layers as faint marks. The text says it all, so the strip is for the eye alone. */
  function drawRows(box, width, spec, at) {
    const here = at[0], middle = 9, side = 8;
    spec.rows.forEach((row) => {
      element(box, "p", `${row.name}: ${row.texts[here]}`, "saecert-row");
      const svg = canvas(box, width, 2 * middle, { "aria-hidden": "true" });
      const most = Math.max(...row.upper, ...row.mean) || 1;
      const x = (value) => side + (width - 2 * side) * Math.max(0, value) / most;
      const line = (name, from, to) =>
        add(svg, "line", { class: name, x1: x(from), x2: x(to), y1: middle, y2: middle });
      line("grid", 0, most);
      row.mean.forEach((value) => {
        add(svg, "circle", { class: "faint", cx: x(value), cy: middle, r: 4 });
      });
      const upper = row.upper[here] === null ? most : row.upper[here];
      line("s0", row.lower[here] === null ? row.mean[here] : row.lower[here], upper);
      add(svg, "line", { class: "s0", x1: x(upper), x2: x(upper), y1: 3, y2: 2 * middle - 3 });
      add(svg, "circle", { class: "s0", cx: x(row.mean[here]), cy: middle, r: 5 });
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
    const draw = () => {
      output.textContent = kind.text(spec, at);
      box.replaceChildren();
      kind.draw(box, Math.max(240, box.clientWidth), spec, at);
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
    let width = 0;
    new ResizeObserver(() => {
      if (root.clientWidth === width) return;
      width = root.clientWidth;
      draw();
    }).observe(root);
  }

  const begin = () => document.querySelectorAll(".saecert-sliders").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
