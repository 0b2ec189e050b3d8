// The state in the address after the page's name: #mode=pred&cut=0.8&hide=ceiling,wall&bg=dark&size=1.5&wrong=1&view=top

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, defaults());
  if (header.modes.some((m) => m.id === given.get("mode"))) state.mode = given.get("mode");
  for (const [key, low, high] of [["cut", 0, 1], ["front", 0, 1], ["size", 0.3, 4]]) {
    const value = parseFloat(given.get(key));
    if (Number.isFinite(value)) state[key] = Math.min(high, Math.max(low, value));
  }
  state.wrong = given.get("wrong") === "1" && canBeWrong();
  state.relief = given.get("shade") !== "0";
  state.dark = given.get("bg") === "dark";
  state.view = given.get("view") === "top" ? "top" : "side";
  const names = classNames();
  const hide = (given.get("hide") || "").split(",").map((text) => names.indexOf(decoded(text)));
  state.hidden = new Set(hide.filter((k) => k >= 0).map(classId));
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
  const parts = [`mode=${state.mode}`];
  if (Math.abs(state.cut - ceiling) > 1e-4) parts.push(`cut=${+state.cut.toFixed(3)}`);
  if (state.front > 0) parts.push(`front=${state.front}`);
  if (state.size !== 1) parts.push(`size=${state.size}`);
  if (state.wrong) parts.push("wrong=1");
  if (!state.relief) parts.push("shade=0");
  if (state.dark) parts.push("bg=dark");
  if (state.view === "top") parts.push("view=top");
  // Encoded twice: names may hold the comma that parts them, and the address is decoded once by its parser.
  const hide = classNames().filter((_, k) => state.hidden.has(classId(k)));
  if (hide.length) parts.push("hide=" + hide.map((name) => encodeURIComponent(encodeURIComponent(name))).join(","));
  written = "#" + parts.join("&");
  if (location.hash !== written) history.replaceState(null, "", written);
}
