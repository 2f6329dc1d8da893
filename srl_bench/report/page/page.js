"use strict";
// Sorting: the better end of a column first, the other one at a second click; what has no value stays below.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const usual = head.dataset.better === "higher" ? "descending" : "ascending";
    const other = usual === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === usual ? other : usual;
    heads.forEach((cell) => cell.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!x || !y) return Number(!x) - Number(!y);
      return sign * compare(x, y);
    });
    table.tBodies[0].append(...rows);
  }));
}

// A link into a closed section opens it.
function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", reveal);

const shared = JSON.parse(document.getElementById("shared").textContent);
const RAMP = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
const CYCLE = ["#6a3d9a", "#3f7fbf", "#5fb3a8", "#e3d36b", "#e08a4a", "#b3415a", "#6a3d9a"];
const CATEGORIES = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"];
const REACH = 14; // pixels between the pointer and a point that it means

function mix(ramp, share) {
  const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const index = Math.min(Math.floor(place), ramp.length - 2);
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [from, to] = [parts(ramp[index]), parts(ramp[index + 1])];
  return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * (place - index))).join()})`;
}

// How the values of a factor are coloured: a colour for each, and what the legend shows.
function colouring(factor) {
  const distinct = [...new Set(factor.values)].sort((a, b) => a - b);
  if (factor.kind === "categorical" && distinct.length <= CATEGORIES.length)
    return { distinct, colours: factor.values.map((value) => CATEGORIES[distinct.indexOf(value)]) };
  const [low, high] = [distinct[0], distinct[distinct.length - 1]];
  const ramp = factor.kind === "angular" ? CYCLE : RAMP;
  return { low, high, ramp, colours: factor.values.map((value) => mix(ramp, (value - low) / (high - low || 1))) };
}

function legend(factor, { distinct, low, high, ramp }) {
  const scale = document.createElement("span");
  scale.className = "scale";
  const add = (tag, text, background = "") => {
    const part = document.createElement(tag);
    part.textContent = text;
    part.style.background = background;
    scale.append(part);
  };
  if (distinct) {
    distinct.forEach((value, index) => { add("b", "", CATEGORIES[index]); add("span", value); });
  } else {
    add("span", low);
    add("i", "", `linear-gradient(90deg, ${ramp.join()})`);
    add("span", `${high} ${factor.unit}`);
  }
  return scale;
}

const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);

function showTip(scene, index, x, y) {
  const { frames, moments, factors } = shared[scene];
  const picture = document.createElement("i");
  picture.className = `frame s${scene}`;
  picture.style.setProperty("--x", frames[index][0]);
  picture.style.setProperty("--y", frames[index][1]);
  const lines = [moments[index], ...factors.slice(0, 8).map((f) => `${f.name} ${f.values[index]} ${f.unit}`)];
  tip.replaceChildren(picture, ...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  tip.hidden = false;
  const left = x + 16 + tip.offsetWidth > innerWidth ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - tip.offsetHeight - 4))}px`;
}

class StatePlot {
  constructor(figure) {
    this.figure = figure;
    this.scene = Number(figure.dataset.scene);
    this.points = JSON.parse(figure.dataset.points).map((point) => point.map((value) => value / 1000));
    this.canvas = figure.querySelector("canvas");
    this.turn = { yaw: 0.6, pitch: 0.4 };
    this.solid = false;
    this.chosen = -1;
    this.buildControls();
    this.listen();
    this.colourBy(0);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  buildControls() {
    const controls = document.createElement("div");
    controls.className = "controls";
    const label = document.createElement("label");
    this.select = document.createElement("select");
    shared[this.scene].factors.forEach((factor, index) => this.select.append(new Option(factor.name, index)));
    label.append("colour ", this.select);
    // All plots of an environment are coloured alike, so that methods can be compared.
    this.select.addEventListener("change", () => {
      for (const plot of plots) if (plot.scene === this.scene) plot.colourBy(Number(this.select.value));
    });
    this.buttons = [false, true].map((solid) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = solid ? "3-D" : "2-D";
      button.addEventListener("click", () => this.setSolid(solid));
      return button;
    });
    this.scale = document.createElement("span");
    controls.append(label, ...this.buttons, this.scale);
    this.figure.prepend(controls);
    this.setSolid(false);
  }

  setSolid(solid) {
    this.solid = solid;
    this.figure.classList.toggle("solid", solid);
    this.buttons.forEach((button, index) => button.setAttribute("aria-pressed", Boolean(index) === solid));
    this.draw();
  }

  colourBy(index) {
    const factor = shared[this.scene].factors[index];
    const found = colouring(factor);
    this.select.value = index;
    this.colours = found.colours;
    const scale = legend(factor, found);
    this.scale.replaceWith(scale);
    this.scale = scale;
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.solid) return;
      held = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => { held = null; });
    canvas.addEventListener("pointercancel", () => { held = null; });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return this.point(event);
      this.turn.yaw += (event.clientX - held[0]) / 120;
      this.turn.pitch = Math.max(-1.5, Math.min(1.5, this.turn.pitch + (event.clientY - held[1]) / 120));
      held = [event.clientX, event.clientY];
      this.choose(-1);
    });
    canvas.addEventListener("click", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.choose(-1));
    canvas.addEventListener("blur", () => this.choose(-1));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.choose((this.chosen + step + this.points.length) % this.points.length);
    });
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, nearest] = [-1, REACH];
    this.places.forEach(([px, py], index) => {
      const distance = Math.hypot(px - x, py - y);
      if (distance < nearest) [best, nearest] = [index, distance];
    });
    this.choose(best);
  }

  choose(index) {
    this.chosen = index;
    this.draw();
    if (index < 0) { tip.hidden = true; return; }
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = this.places[index];
    showTip(this.scene, index, box.left + x, box.top + y);
  }

  // Places (x, y, depth) in pixels of coordinates in [-1, 1].
  project([x, y, z], size) {
    if (!this.solid) return [size / 2 + x * size * 0.46, size / 2 - y * size * 0.46, 0];
    const { yaw, pitch } = this.turn;
    const [u, w] = [x * Math.cos(yaw) + z * Math.sin(yaw), z * Math.cos(yaw) - x * Math.sin(yaw)];
    const [v, depth] = [y * Math.cos(pitch) - w * Math.sin(pitch), w * Math.cos(pitch) + y * Math.sin(pitch)];
    const scale = (size * 0.4) / (1 - depth * 0.2);
    return [size / 2 + u * scale, size / 2 - v * scale, depth];
  }

  draw() {
    const size = this.canvas.clientWidth;
    if (!size || !this.colours) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = this.canvas.height = size * ratio;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas);
    this.axes(context, size, style);
    this.places = this.points.map((point) => this.project(point, size));
    const order = this.places.map((_, index) => index);
    if (this.solid) order.sort((a, b) => this.places[a][2] - this.places[b][2]);
    context.lineWidth = 0.6;
    context.strokeStyle = style.color;
    for (const index of order) {
      const [x, y, depth] = this.places[index];
      context.beginPath();
      context.arc(x, y, 3.4 * (1 + 0.3 * depth), 0, 2 * Math.PI);
      context.fillStyle = this.colours[index];
      context.globalAlpha = 0.9;
      context.fill();
      context.globalAlpha = 0.35;
      context.stroke();
    }
    context.globalAlpha = 1;
    if (this.chosen >= 0) {
      const [x, y] = this.places[this.chosen];
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  axes(context, size, style) {
    const shares = JSON.parse(this.figure.dataset.shares);
    context.strokeStyle = style.borderTopColor;
    context.fillStyle = style.color;
    context.font = `11px ${style.fontFamily}`;
    context.textAlign = "center";
    const ends = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].slice(0, this.solid ? 3 : 2);
    ends.forEach((end, index) => {
      const [from, to] = [end.map((value) => -value), end].map((place) => this.project(place, size));
      context.beginPath();
      context.moveTo(from[0], from[1]);
      context.lineTo(to[0], to[1]);
      context.stroke();
      const x = Math.max(38, Math.min(size - 38, to[0]));
      context.fillText(`PC${index + 1} ${shares[index]} %`, x, Math.max(12, to[1] - 5));
    });
  }
}

const plots = [...document.querySelectorAll(".plot")].map((figure) => new StatePlot(figure));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach((plot) => plot.draw()));
reveal();
