// What the page shows now, and what every other part needs.

const $ = (id) => document.getElementById(id);
const given = JSON.parse($("header").textContent);

// One view, or two side by side: { id, place, header, points }; those of one place share camera and box. Everything is in the frame of the first one's coordinates.
let views = [];
let bounds = { low: [0, 0, 0], size: [1, 1, 1] };
let ceiling = 1; // share of the height
let drawing;

const defaults = () => ({
  mode: given.start.mode, low: [0, 0, 0], high: [1, 1, ceiling], front: ceiling < 1 ? drawing.orbit.opening : 0, size: 1,
  wrong: false, relief: true, dark: given.start.dark, view: "side", hidden: new Set(),
});
const state = { ...defaults(), saved: [] }; // view: "side", "top", or "own" once the camera was moved

const group = (n) => n.toLocaleString("en");
const css = (rgb) => `rgb(${rgb.join(",")})`;
const percent = (share) => (100 * share).toFixed(1);
const make = (tag, text = "", attributes = {}) => {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};

// The middle of a long name is what says least: "Area_5/conf…oom_1".
function shortened(text, longest) {
  if (text.length <= longest) return text;
  const head = Math.ceil((longest - 1) / 2);
  return text.slice(0, head) + "…" + text.slice(text.length - (longest - 1 - head));
}

// What tells the sources apart: "/a/long/path/runs/erda" is "erda" beside "/a/long/path/runs/supervised".
const sources = [...new Set((given.clouds || given.pair || []).map((cloud) => cloud.source))];
function shortSource(source) {
  const paths = sources.map((path) => path.split(/[\\/]/));
  let same = 0;
  while (paths.every((path) => path.length > same + 1 && path[same] === paths[0][same])) same++;
  return source.split(/[\\/]/).slice(same).join("/");
}

// The switches go by name, so that they mean the same in every scene and in both of two.
const nameless = (header) => (header.classes.some((c) => c.name === "ignored") ? "no class" : "ignored");
const classNames = (header) => [...header.classes.map((c) => c.name), nameless(header)];
const allNames = () => [...new Set(views.flatMap((view) => view.header.classes.map((c) => c.name))), ...new Set(views.map((view) => nameless(view.header)))];

const modes = () => [...new Map(views.flatMap((view) => view.header.modes.map((mode) => [mode.id, mode]))).values()];
const hasMode = (header, id) => header.modes.some((mode) => mode.id === id);
// A cloud without what the colouring shows has its first one.
const modeOf = (header) => (hasMode(header, state.mode) ? state.mode : header.modes[0].id);
const canBeWrong = () => modes().some((mode) => mode.id === "error");

// Puts one or two clouds in place of what was shown.
function place(clouds) {
  views = clouds;
  const [first] = clouds;
  for (const { header, points } of clouds) points.origin = header.origin.map((v, a) => v + header.offset[a] - first.header.offset[a]);
  const corners = clouds.map(({ header, points }) => [points.origin, points.origin.map((v, a) => v + header.step[a] * 65535)]);
  const low = [0, 1, 2].map((a) => Math.min(...corners.map((corner) => corner[0][a])));
  const high = [0, 1, 2].map((a) => Math.max(...corners.map((corner) => corner[1][a])));
  bounds = { low, size: high.map((v, a) => v - low[a]) };
  const { cut, step } = first.header;
  ceiling = cut === null ? 1 : Math.min(1, (first.points.origin[2] + cut * step[2] * 65535 - low[2]) / bounds.size[2]);
}
