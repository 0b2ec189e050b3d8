// The page: from the points to the picture and back.

const PAPER = { true: [0.071, 0.086, 0.106], false: [1, 1, 1] };
const MOST_SAVED = 5;
const LOST = "The graphics card gave the page up. Reload it; if that happens again, write the page with fewer points (--max-points).";
const TOO_OLD = "This browser is too old to unpack the points. Chrome and Edge can from version 103 on, Firefox from 113, Safari from 16.4.";
let moving = false, queued = false, settling, cloudsShown = 0;

function stop(kind, text) {
  document.body.dataset.state = kind;
  $("message").className = views.length ? "over" : "";
  $("message").replaceChildren(make("p", text));
}

const scene = () => ({ size: state.size, relief: state.relief, paper: PAPER[state.dark], front: state.front, moving });

function requestDraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    if (!views.length) return;
    if (moving) drawTimed();
    else drawing.draw(scene());
    placeMarkers();
  });
}

// A frame that took too long makes the next ones of a movement coarser.
function drawTimed() {
  const began = performance.now();
  drawing.draw(scene());
  // readPixels waits for the card, so the time is the frame's own.
  drawing.gl.readPixels(0, 0, 1, 1, drawing.gl.RGBA, drawing.gl.UNSIGNED_BYTE, new Uint8Array(4));
  const spent = performance.now() - began;
  if (spent > 50) drawing.skip = Math.min(16, drawing.skip * 2 ** Math.ceil(Math.log2(spent / 50)));
  else if (spent < 12 && drawing.skip > 1) drawing.skip /= 2;
}

function refresh() {
  if (!views.length) return;
  const shown = views.map(({ header, points }) => paint(points, modeOf(header)));
  drawing.recolor();
  showPanel(shown);
  writeAddress();
  requestDraw();
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  Object.assign(document.body.dataset, {
    mode: modeOf(views[0].header), shown: sum(shown), points: sum(views.map((v) => v.points.count)), total: sum(views.map((v) => v.header.total)),
  });
}

function set(changes) {
  const before = state.mode;
  Object.assign(state, changes);
  if (state.mode !== before) showLabels();
  refresh();
}

// The camera was moved by hand; the address follows when it rests.
function moved() {
  moving = true;
  state.view = "own";
  $("tip").hidden = true;
  clearTimeout(settling);
  settling = setTimeout(rest, 160);
  requestDraw();
}

function rest() {
  clearTimeout(settling);
  moving = false;
  if (!views.length) return;
  writeAddress();
  requestDraw();
}

function look(view) {
  state.view = view;
  drawing.look(view);
  rest();
}

function keepView() {
  const saved = [...state.saved, drawing.orbit.pose].slice(-MOST_SAVED);
  $("kept").replaceChildren();
  set({ saved });
}

function recall(k) {
  if (!state.saved[k]) return;
  drawing.orbit.pose = state.saved[k];
  state.view = "own";
  rest();
}

function savePicture() {
  drawing.draw({ ...scene(), moving: false });
  drawing.canvas.toBlob((blob) => {
    const link = make("a", "", { download: `${(views[0].header.name || "scene").replace(/[^\w.-]+/g, "_")}_${modeOf(views[0].header)}.png` });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

// Shows one or two clouds: as the address says at first; later as things are, with camera and box kept for the same scene.
function show(clouds, fromAddress) {
  if (drawing.gl.isContextLost()) throw new Error(LOST);
  const same = views.length > 0 && views[0].place === clouds[0].place;
  const shift = same ? views[0].header.offset.map((v, a) => v - clouds[0].header.offset[a]) : [0, 0, 0];
  const shifted = (pose) => pose.map((v, a) => (a < 3 ? v + shift[a] : v));
  const pose = same ? shifted(drawing.orbit.pose) : null;
  showPicked(null);
  place(clouds.map((view) => ({ ...view, number: ++cloudsShown })));
  drawing.show(clouds.map((view) => view.points), bounds, ceiling);
  if (fromAddress) readAddress();
  else if (same) state.saved = state.saved.map(shifted);
  else Object.assign(state, { low: [0, 0, 0], high: [1, 1, ceiling], front: defaults().front, saved: [], view: state.view === "top" ? "top" : "side" });
  if (!fromAddress && state.view === "own") drawing.orbit.pose = pose;
  else if (!fromAddress) drawing.look(state.view);
  $("kept").replaceChildren();
  $("controls").hidden = false;
  showScene();
  document.body.dataset.state = "ready";
  refresh();
  drawTimed();
}

function watchPanel() {
  makeBox();
  for (const key of ["size", "front"]) $(key).addEventListener("input", () => set({ [key]: +$(key).value }));
  for (const key of ["wrong", "relief", "dark"]) $(key).addEventListener("change", () => set({ [key]: $(key).checked }));
  const buttons = {
    ceiling: KEYS.c, unbox: () => set({ low: [0, 0, 0], high: [1, 1, ceiling] }), all: () => hideAllBut(null), none: () => hideAllBut(""),
    "view-side": KEYS.s, "view-top": KEYS.t, keep: keepView, save: savePicture, unpick: KEYS.Escape,
    "help-open": openHelp, "help-close": () => $("help").close(),
  };
  for (const [id, act] of Object.entries(buttons)) $(id).addEventListener("click", act);
  $("fold").addEventListener("click", () => {
    const folded = document.body.classList.toggle("folded");
    $("fold").setAttribute("aria-expanded", !folded);
    requestDraw();
  });
  if (innerWidth < 700) $("fold").click();
  addEventListener("keydown", onKey);
  addEventListener("resize", requestDraw);
  addEventListener("hashchange", () => {
    if (location.hash === written) return;
    if (given.live && openAddress()) return;
    if (!views.length) return;
    readAddress();
    showScene();
    refresh();
  });
  $("canvas").addEventListener("webglcontextlost", () => {
    views = [];
    stop("failed", LOST);
  });
}

// Chrome 80 to 102 know the class and not this format.
function canUnpack() {
  try {
    return Boolean(new DecompressionStream(PACKING));
  } catch {
    return false;
  }
}

async function start() {
  document.body.dataset.background = state.dark ? "dark" : "light";
  $("controls").hidden = true;
  $("name").textContent = document.title;
  watchPanel();
  watchPointers($("canvas"));
  if (!canUnpack()) return stop("unsupported", TOO_OLD);
  try {
    drawing = new Drawing($("canvas"));
    if (given.live) return startLive();
    const packed = $("payload").textContent.split(",");
    $("payload").remove();
    show(await Promise.all((given.pair || [given]).map((header, k) => openPacked(header, packed[k]))), true);
  } catch (error) {
    if (error instanceof NoWebGL) {
      return stop("no-webgl2", "This browser has no WebGL2, which draws the points. Turn hardware acceleration on in its settings, or open the page in another browser.");
    }
    stop("failed", `The page cannot be shown: ${error.message}`);
  }
}

async function openPacked(header, text) {
  return { place: header.name, header, points: new Points(header, await unpack(header, new Blob([fromBase64(text)]).stream())) };
}

start();
