// Mouse, touch and keys.

function watchPointers(canvas) {
  const down = new Map();
  let path = 0, hovering;
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    clearTimeout(hovering);
    canvas.focus({ focusVisible: false });
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, [event.clientX, event.clientY]);
    path = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    clearTimeout(hovering);
    if (!down.has(event.pointerId)) {
      $("tip").hidden = true;
      if (event.pointerType === "mouse") hovering = setTimeout(() => showTip(event.clientX, event.clientY), 70);
      return;
    }
    const before = [...down.values()].map((p) => p.slice());
    const [dx, dy] = [event.clientX - down.get(event.pointerId)[0], event.clientY - down.get(event.pointerId)[1]];
    down.set(event.pointerId, [event.clientX, event.clientY]);
    path += Math.hypot(dx, dy);
    // A hand that trembles while it clicks does not turn the scene.
    if (!views.length || path < 4) return;
    if (down.size > 1) pinch(before, [...down.values()], dx, dy);
    else if (event.buttons & 2 || event.buttons & 4 || event.shiftKey || event.ctrlKey) drawing.orbit.move(dx, dy, Math.min(...halfSize()));
    else drawing.orbit.turn(dx, dy);
    moved();
  });
  const released = (event) => {
    if (down.delete(event.pointerId) && path < 4 && event.type === "pointerup" && event.button === 0) showPicked(pickAt(event.clientX, event.clientY));
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("pointerleave", () => {
    clearTimeout(hovering);
    $("tip").hidden = true;
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (!views.length) return;
    drawing.orbit.zoom(Math.exp(within(event.deltaY, -100, 100) * 0.0015));
    moved();
  }, { passive: false });
  canvas.addEventListener("dblclick", centrePicked);
}

// Two fingers: their distance zooms, their middle moves.
function pinch(before, after, dx, dy) {
  const span = ([a, b]) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
  drawing.orbit.zoom(span(before) / span(after));
  drawing.orbit.move(dx / 2, dy / 2, Math.min(...halfSize()));
}

const KEYS = {
  c: () => set({ high: [...state.high.slice(0, 2), state.high[2] >= 1 ? (ceiling < 1 ? ceiling : 0.8) : 1] }),
  x: () => canBeWrong() && set({ wrong: !state.wrong }),
  b: () => set({ dark: !state.dark }),
  e: () => set({ relief: !state.relief }),
  t: () => look("top"),
  s: () => look("side"),
  v: keepView,
  p: savePicture,
  f: centrePicked,
  "+": () => set({ size: Math.min(4, +(state.size * 1.2).toFixed(2)) }),
  "=": () => KEYS["+"](),
  "-": () => set({ size: Math.max(0.3, +(state.size / 1.2).toFixed(2)) }),
  r: () => {
    look("side");
    set({ ...defaults(), mode: state.mode, dark: state.dark });
  },
  Escape: () => showPicked(null),
};

// Only while the picture has the focus: elsewhere these keys belong to sliders, lists and buttons.
const CAMERA_KEYS = {
  ArrowLeft: (shift) => (shift ? drawing.orbit.move(30, 0, Math.min(...halfSize())) : drawing.orbit.turn(15, 0)),
  ArrowRight: (shift) => (shift ? drawing.orbit.move(-30, 0, Math.min(...halfSize())) : drawing.orbit.turn(-15, 0)),
  ArrowUp: (shift) => (shift ? drawing.orbit.move(0, 30, Math.min(...halfSize())) : drawing.orbit.turn(0, 15)),
  ArrowDown: (shift) => (shift ? drawing.orbit.move(0, -30, Math.min(...halfSize())) : drawing.orbit.turn(0, -15)),
  PageUp: () => drawing.orbit.zoom(0.85),
  PageDown: () => drawing.orbit.zoom(1 / 0.85),
};

const HELP = [
  ["drag, one finger; arrow keys", "turn"],
  ["right drag, Shift drag, two fingers; Shift arrows", "move"],
  ["wheel, pinch; Page up, Page down", "zoom"],
  ["click; Enter", "values of that point; of the one in the middle"],
  ["double-click; f", "turn around that point; around the clicked one"],
  ["Escape", "close the clicked point"],
  ["1 … 9, 0", "colourings, in the order of the buttons"],
  ["c", "ceiling cut on and off"],
  ["x", "wrong points only"],
  ["s, t", "view from the side, from above"],
  ["v; Shift 1 … 5", "keep this view; back to a kept one"],
  ["+, −", "point size"],
  ["b, e", "dark background, shading by depth"],
  ["p", "save the picture"],
  ["r", "back to the start, but for colouring, background and kept views"],
  ["?", "this list"],
];

function onKey(event) {
  const { target } = event;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // with Caps Lock too
  // Many keyboards have brackets only with AltGr, which is Ctrl and Alt, or with Alt.
  const composed = event.altKey && !event.metaKey && (key === "[" || key === "]");
  if (((event.ctrlKey || event.metaKey || event.altKey) && !composed) || $("help").open) return;
  if (target.type === "search") return;
  if (key === "?") return openHelp();
  if (given.live && (key === "[" || key === "]")) return stepScene(key === "]" ? 1 : -1);
  if (!views.length) return;
  const place = /^Digit([0-9])$/.exec(event.code)?.[1];
  if (event.shiftKey && place && state.saved[place - 1]) return recall(place - 1);
  // A key of the row of digits counts by its place, because on French keyboards it types a letter; a digit by itself.
  const number = /^[0-9]$/.test(key) ? key : event.shiftKey ? null : place;
  if (target === $("canvas") && key === "Enter") return showPicked(pickAt(halfSize()[0] / 2, halfSize()[1] / 2));
  if (target === $("canvas") && Object.hasOwn(CAMERA_KEYS, key)) {
    CAMERA_KEYS[key](event.shiftKey);
    moved();
  } else if (number) {
    const mode = modes()[(+number + 9) % 10];
    if (mode) set({ mode: mode.id });
  } else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else if (event.code === "Minus") KEYS["-"](); // where "-" is typed with the key of a digit
  else return;
  // A list would look for an entry that begins with the key.
  event.preventDefault();
}

function openHelp() {
  if (!$("help-list").childElementCount) {
    const live = given.live ? [["[, ]", "scene before, scene after"]] : [];
    $("help-list").append(...[...HELP.slice(0, -1), ...live, ...HELP.slice(-1)].flatMap(([keys, text]) => [make("dt", keys), make("dd", text)]));
  }
  $("help").showModal();
}
