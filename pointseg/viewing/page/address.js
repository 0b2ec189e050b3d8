// The state in the address after the page's name:
// #a=0&b=3&mode=pred&cut=0.8&x=0.1,0.9&hide=ceiling,wall&bg=dark&size=1.5&wrong=1&cam=1.2,3.4,1,-35,42,9.1

const within = (value, low, high) => Math.min(high, Math.max(low, value));
const numbers = (text) => (text || "").split(",").map(parseFloat);
const asPose = (text) => [numbers(text)].find((six) => six.length === 6 && six.every(Number.isFinite));

function readAddress() {
  const from = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, defaults());
  if (modes().some((mode) => mode.id === from.get("mode"))) state.mode = from.get("mode");
  for (const [key, low, high] of [["front", 0, 1], ["size", 0.3, 4]]) {
    const value = parseFloat(from.get(key));
    if (Number.isFinite(value)) state[key] = within(value, low, high);
  }
  ["x", "y", "z"].forEach((axis, a) => {
    const [low, high] = numbers(from.get(axis));
    if (low < high) [state.low[a], state.high[a]] = [within(low, 0, 1), within(high, 0, 1)];
  });
  const cut = parseFloat(from.get("cut"));
  if (Number.isFinite(cut)) state.high[2] = within(cut, 0, 1);
  state.wrong = from.get("wrong") === "1" && canBeWrong();
  state.relief = from.get("shade") !== "0";
  if (from.has("bg")) state.dark = from.get("bg") === "dark";
  const names = allNames();
  state.hidden = new Set((from.get("hide") || "").split(",").map(decoded).filter((name) => names.includes(name)));
  state.saved = (from.get("saved") || "").split(";").map(asPose).filter(Boolean);
  const pose = asPose(from.get("cam"));
  state.view = pose ? "own" : from.get("view") === "top" ? "top" : "side";
  if (pose) drawing.orbit.pose = pose;
  else drawing.look(state.view);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a name typed by hand, with a % of its own
  }
}

let written = "";
function writeAddress() {
  const short = (v) => +v.toFixed(4);
  const parts = views.flatMap((view, k) => (given.live ? [`${"ab"[k]}=${view.id}`] : []));
  parts.push(`mode=${modes().some((mode) => mode.id === state.mode) ? state.mode : modeOf(views[0].header)}`);
  ["x", "y"].forEach((axis, a) => {
    if (state.low[a] > 0 || state.high[a] < 1) parts.push(`${axis}=${short(state.low[a])},${short(state.high[a])}`);
  });
  if (state.low[2] > 0) parts.push(`z=${short(state.low[2])},${short(state.high[2])}`);
  else if (Math.abs(state.high[2] - ceiling) > 1e-4) parts.push(`cut=${short(state.high[2])}`);
  if (state.front !== defaults().front) parts.push(`front=${state.front}`);
  if (state.size !== 1) parts.push(`size=${state.size}`);
  if (state.wrong) parts.push("wrong=1");
  if (!state.relief) parts.push("shade=0");
  if (state.dark !== given.start.dark) parts.push(`bg=${state.dark ? "dark" : "light"}`);
  if (state.view === "top") parts.push("view=top");
  if (state.view === "own") parts.push(`cam=${drawing.orbit.pose.join(",")}`);
  if (state.saved.length) parts.push(`saved=${state.saved.map((pose) => pose.join(",")).join(";")}`);
  // Encoded twice: names may hold the comma that parts them, and the address is decoded once by its parser.
  const hide = allNames().filter((name) => state.hidden.has(name));
  if (hide.length) parts.push("hide=" + hide.map((name) => encodeURIComponent(encodeURIComponent(name))).join(","));
  written = "#" + parts.join("&");
  if (location.hash !== written) history.replaceState(null, "", written);
}
