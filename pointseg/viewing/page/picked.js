// The values of the point under the mouse and of the one that was clicked, and where it is.

const REACH = 9; // pixels
let picked = null; // the clicked point's number in each view, -1 where that has none

function halfSize() {
  return [drawing.canvas.clientWidth / views.length, drawing.canvas.clientHeight];
}

// The numbers of the points of all views at a pixel, or null.
function pickAt(x, y) {
  if (!views.length) return null;
  const [width, height] = halfSize();
  const own = within(Math.floor(x / width), 0, views.length - 1);
  const project = drawing.matrix(width, height, state.front);
  const hit = views[own].points.pick(x - own * width, y, width, height, project, drawing.orbit.near, REACH);
  if (hit < 0) return null;
  const at = views[own].points.position(hit);
  // In the other cloud a point counts as the same place if it is no further than neighbours are from each other.
  const reach = 2 * Math.max(...views.map((view) => view.header.spacing));
  return views.map((view, k) => (k === own ? hit : view.points.nearest(at, reach)));
}

function describeInto(node, hits) {
  const told = hits.map((hit, k) => new Map(hit < 0 ? [] : views[k].points.describe(hit)));
  const table = make("table");
  const labels = [...new Set(told.flatMap((values) => [...values.keys()]))];
  if (views.length > 1) labels.unshift("");
  for (const label of labels) {
    const row = make("tr");
    const texts = label === "" ? ["A", "B"] : told.map((values) => values.get(label) ?? "–");
    row.append(make("td", label), ...texts.map((text) => make("td", text, /^[-\d. ]+$/.test(text) ? { class: "numbers" } : {})));
    table.append(row);
  }
  node.replaceChildren(table);
}

function showTip(x, y) {
  const hits = pickAt(x, y);
  $("tip").hidden = !hits;
  if (!hits) return;
  describeInto($("tip"), hits);
  const { clientWidth, clientHeight } = $("stage");
  $("tip").style.left = Math.max(0, Math.min(x + 14, clientWidth - $("tip").offsetWidth - 6)) + "px";
  $("tip").style.top = Math.max(0, Math.min(y + 14, clientHeight - $("tip").offsetHeight - 6)) + "px";
}

function showPicked(hits) {
  picked = hits;
  $("tip").hidden = true;
  $("picked").hidden = !hits;
  if (hits) describeInto($("picked-values"), hits);
  document.body.dataset.picked = hits ? hits.join(" ") : -1;
  placeMarkers();
}

// A ring around the clicked point in every half that has it.
function placeMarkers() {
  document.querySelectorAll(".marker").forEach((ring, k) => {
    ring.hidden = !(picked && views[k] && picked[k] >= 0);
    if (ring.hidden) return;
    const [width, height] = halfSize();
    const m = drawing.matrix(width, height, state.front);
    const [x, y, z] = views[k].points.position(picked[k]);
    const [cx, cy, , cw] = [0, 1, 2, 3].map((row) => m[row] * x + m[4 + row] * y + m[8 + row] * z + m[12 + row]);
    ring.hidden = cw < drawing.orbit.near || Math.abs(cx) > cw || Math.abs(cy) > cw;
    ring.style.left = (k + (cx / cw + 1) / 2) * width + "px";
    ring.style.top = ((1 - cy / cw) / 2) * height + "px";
  });
}

function centrePicked() {
  const k = picked ? picked.findIndex((hit) => hit >= 0) : -1;
  if (k < 0) return;
  drawing.orbit.target = views[k].points.position(picked[k]);
  moved();
}
