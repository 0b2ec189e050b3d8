// The page: panel, mouse, touch, keys, and the state in the address after '#'.

const $ = (id) => document.getElementById(id);
const header = JSON.parse($("header").textContent);
const ceiling = header.cut === null ? 1 : header.cut;
const defaults = () => ({
  mode: header.modes[0].id, cut: ceiling, front: 0, size: 1, wrong: false, relief: true, dark: false, view: "side", hidden: new Set(),
});
const state = defaults();
let points, drawing, moving = 0, queued = false;

const group = (n) => n.toLocaleString("en");
const make = (tag, text = "", attributes = {}) => {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const css = (rgb) => `rgb(${rgb.join(",")})`;
const classNames = () => [...header.classes.map((c) => c.name), "ignored"];
const classId = (k) => (k === header.classes.length ? header.none : k);

function stop(kind, text) {
  document.body.dataset.state = kind;
  $("message").replaceChildren(make("p", text));
}

const canBeWrong = () => header.modes.some((m) => m.id === "error");
const panelShift = () => (document.body.classList.contains("folded") || innerWidth < 700 ? 0 : $("panel").offsetWidth / innerWidth);

function scene() {
  const paper = state.dark ? [0.071, 0.086, 0.106] : [1, 1, 1];
  return { size: state.size, relief: state.relief, paper, shift: panelShift(), front: state.front, moving: moving > 0 };
}

function requestDraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const began = performance.now();
    drawing.draw(scene());
    if (moving > 0) {
      // readPixels waits for the card, so the time is the frame's own.
      drawing.gl.readPixels(0, 0, 1, 1, drawing.gl.RGBA, drawing.gl.UNSIGNED_BYTE, new Uint8Array(4));
      const spent = performance.now() - began;
      if (spent > 50) drawing.skip = Math.min(16, drawing.skip * 2);
      else if (spent < 12 && drawing.skip > 1) drawing.skip /= 2;
    }
  });
}

function refresh() {
  const shown = points.paint(state);
  drawing.recolor();
  showPanel(shown);
  writeAddress();
  requestDraw();
  Object.assign(document.body.dataset, { mode: state.mode, shown, points: points.count, total: header.total });
}

function describeInto(node, i) {
  node.replaceChildren(...points.describe(i).flatMap(([label, text]) => [make("dt", label), make("dd", text)]));
}

function pickAt(event) {
  const { clientWidth, clientHeight } = drawing.canvas;
  const project = drawing.matrix(panelShift(), state.front);
  return points.pick(event.clientX, event.clientY, clientWidth, clientHeight, project, drawing.orbit.near, 9);
}

function set(changes) {
  Object.assign(state, changes);
  refresh();
}

function look(view) {
  state.view = view;
  drawing.orbit.look(view);
  writeAddress();
  requestDraw();
}

function toggleCut() {
  const half = ceiling < 1 ? ceiling : 0.8;
  set({ cut: state.cut >= 1 ? half : 1 });
}

function savePicture() {
  drawing.draw({ ...scene(), moving: false });
  drawing.canvas.toBlob((blob) => {
    const link = make("a", "", { download: `${header.name.replace(/[^\w.-]+/g, "_")}_${state.mode}.png` });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

let settling;
function moved() {
  moving = 1;
  $("tip").hidden = true;
  clearTimeout(settling);
  settling = setTimeout(() => {
    moving = 0;
    requestDraw();
  }, 160);
  requestDraw();
}

function watchPointers(canvas) {
  const down = new Map();
  let path = 0, hovering;
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, [event.clientX, event.clientY]);
    path = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    clearTimeout(hovering);
    if (!down.has(event.pointerId)) {
      $("tip").hidden = true;
      if (event.pointerType === "mouse") hovering = setTimeout(() => showTip(event), 70);
      return;
    }
    const before = [...down.values()].map((p) => p.slice());
    const [dx, dy] = [event.clientX - down.get(event.pointerId)[0], event.clientY - down.get(event.pointerId)[1]];
    down.set(event.pointerId, [event.clientX, event.clientY]);
    path += Math.hypot(dx, dy);
    if (down.size > 1) pinch(before, [...down.values()], dx, dy);
    else if (event.buttons & 2 || event.buttons & 4 || event.shiftKey || event.ctrlKey) drawing.orbit.move(dx, dy, Math.min(innerHeight, innerWidth));
    else drawing.orbit.turn(dx, dy);
    moved();
  });
  const released = (event) => {
    if (down.delete(event.pointerId) && path < 4 && event.type === "pointerup" && event.button === 0) showPicked(pickAt(event));
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("pointerleave", () => clearTimeout(hovering));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    drawing.orbit.zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.0015));
    moved();
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    const hit = pickAt(event);
    if (hit >= 0) drawing.orbit.target = points.position(hit);
    requestDraw();
  });
}

// Two fingers: their distance zooms, their middle moves.
function pinch(before, after, dx, dy) {
  const span = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
  drawing.orbit.zoom(span(before) / span(after));
  drawing.orbit.move(dx / 2, dy / 2, Math.min(innerHeight, innerWidth));
}

function showTip(event) {
  const hit = pickAt(event);
  $("tip").hidden = hit < 0;
  if (hit < 0) return;
  const list = make("dl");
  describeInto(list, hit);
  $("tip").replaceChildren(list);
  $("tip").style.left = Math.min(event.clientX + 14, innerWidth - 280) + "px";
  $("tip").style.top = Math.min(event.clientY + 14, innerHeight - 150) + "px";
}

function showPicked(hit) {
  $("picked").hidden = hit < 0;
  if (hit >= 0) describeInto($("picked-values"), hit);
  document.body.dataset.picked = hit;
}

const KEYS = {
  c: toggleCut,
  x: () => canBeWrong() && set({ wrong: !state.wrong }),
  b: () => set({ dark: !state.dark }),
  e: () => set({ relief: !state.relief }),
  t: () => look("top"),
  p: savePicture,
  "+": () => set({ size: Math.min(4, +(state.size * 1.2).toFixed(2)) }),
  "=": () => KEYS["+"](),
  "-": () => set({ size: Math.max(0.3, +(state.size / 1.2).toFixed(2)) }),
  r: () => {
    drawing.orbit.look("side");
    set({ ...defaults(), mode: state.mode, dark: state.dark });
  },
};

function watchPanel() {
  header.modes.forEach((mode, k) => {
    const button = make("button", mode.title, { type: "button", role: "radio", "data-mode": mode.id });
    button.prepend(make("kbd", String(k + 1)));
    button.addEventListener("click", () => set({ mode: mode.id }));
    $("modes").append(button);
  });
  $("last-mode").textContent = header.modes.length;
  $("size").addEventListener("input", () => set({ size: +$("size").value }));
  $("cut").addEventListener("input", () => set({ cut: +$("cut").value }));
  $("front").addEventListener("input", () => set({ front: +$("front").value }));
  for (const key of ["wrong", "relief", "dark"]) $(key).addEventListener("change", () => set({ [key]: $(key).checked }));
  $("wrong-row").hidden = !canBeWrong();
  $("all").addEventListener("click", () => hideAllBut(null));
  $("none").addEventListener("click", () => hideAllBut(-1));
  $("view-side").addEventListener("click", () => look("side"));
  $("view-top").addEventListener("click", () => look("top"));
  $("save").addEventListener("click", savePicture);
  $("fold").addEventListener("click", () => {
    const folded = document.body.classList.toggle("folded");
    $("fold").setAttribute("aria-expanded", !folded);
    requestDraw();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const mode = header.modes[+event.key - 1];
    if (mode) set({ mode: mode.id });
    else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  });
  addEventListener("resize", requestDraw);
  addEventListener("hashchange", () => {
    if (location.hash === written) return;
    readAddress();
    drawing.orbit.look(state.view);
    refresh();
  });
}

async function start() {
  showHead();
  if (typeof DecompressionStream === "undefined") {
    return stop("unsupported", "This browser cannot unpack the points (it lacks DecompressionStream). Any Chrome, Edge, Firefox or Safari from 2023 on can.");
  }
  try {
    points = new Points(header, await unpackPayload(header, $("payload").textContent));
    drawing = new Drawing($("canvas"), points);
  } catch (error) {
    if (error instanceof NoWebGL) {
      return stop("no-webgl2", "This browser has no WebGL2, which draws the points. Turn hardware acceleration on in its settings, or open the page in another browser. The PLY file opens in CloudCompare as well.");
    }
    return stop("failed", `The page cannot be shown: ${error.message}`);
  }
  readAddress();
  drawing.orbit.look(state.view);
  watchPanel();
  watchPointers($("canvas"));
  refresh();
  drawing.draw(scene());
  document.body.dataset.state = "ready";
}

start();
