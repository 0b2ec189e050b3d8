// The list of classes with counts, scores and switches. Its rows stay, so that a switch keeps the keyboard's focus.

const BY = { gt: "ground truth", pred: "prediction", pseudo: "pseudo-label", annotated: "annotation" };
const PALE = [215, 215, 215]; // of points without annotation
let listed = ""; // what the rows were made for

function showClasses() {
  const by = views.map(({ header, points }) => filterBy(points, modeOf(header)));
  $("class-section").hidden = by.every((name) => name === null);
  const shown = columns(by);
  const wanted = JSON.stringify([by, shown, views.map((view) => view.number)]);
  if (wanted !== listed) {
    listed = wanted;
    $("classes-title").textContent = "classes by " + [...new Set(by.filter(Boolean).map((name) => BY[name]))].join(" and ");
    $("classes-head").replaceChildren(make("th"), ...["class", ...shown.map((column) => column.title)].map((title) => make("th", title, { scope: "col" })));
    $("classes").replaceChildren(...allNames().flatMap((name) => classRow(name, by, shown)));
  }
  for (const box of $("classes").querySelectorAll("input")) box.checked = !state.hidden.has(box.dataset.name);
}

// Points and IoU of one cloud; of two their IoUs and the difference, or their points. Where annotated points are shown,
// how many of them each class has.
function columns(by) {
  const pair = views.length > 1;
  const count = (k, name) => ({
    title: (name === "annotated" ? "annotated" : "points") + (pair ? ` ${"AB"[k]}` : ""),
    text: (entries) => (counts(entries[k], name, by[k]) ? group(entries[k][name]) : "–"),
  });
  const iou = (k) => ({
    title: pair ? `IoU ${"AB"[k]}` : "IoU %",
    text: (entries) => (entries[k] && entries[k].iou !== null ? percent(entries[k].iou) : "–"),
  });
  const points = by.map((name, k) => count(k, name));
  if (views.some(({ header }) => modeOf(header) === "annotated")) {
    const marked = views.flatMap((view, k) => (view.points.fields.annotated ? [count(k, "annotated")] : []));
    return pair || by[0] === "annotated" ? marked : [...points, ...marked];
  }
  if (views.every((view) => view.header.miou === null)) return points;
  return pair ? [iou(0), iou(1), { title: "B − A", text: difference }] : [...points, iou(0)];
}

// Whether a row has a number of points by that label; "ignored" are those without the label that the rows are by.
function counts(entry, name, by) {
  return entry && name && ("name" in entry || name === by);
}

function difference([a, b]) {
  if (!a || !b || a.iou === null || b.iou === null) return "–";
  const points = (100 * (b.iou - a.iou)).toFixed(1);
  return points > 0 ? `+${points}` : points.replace("-", "−");
}

// What a cloud knows about a class name; points without a class are the last "class".
function entryOf({ header }, name) {
  if (name === nameless(header)) return { color: header.colors.ignored, iou: null, ...header.ignored };
  return header.classes.find((c) => c.name === name);
}

function classRow(name, by, shown) {
  const entries = views.map((view) => entryOf(view, name));
  const counted = entries.reduce((sum, entry, k) => sum + ((entry && by[k] && entry[by[k]]) || 0), 0);
  if (!counted && !views.some(({ header }) => header.classes.some((c) => c.name === name))) return [];
  const row = make("tr", "", { class: counted ? "" : "absent" });
  const unmarked = by.includes("annotated") && entries.some((entry) => entry && !("name" in entry));
  const title = unmarked ? "not annotated" : name;
  const box = make("input", "", { type: "checkbox", "aria-label": title, "data-name": name });
  box.addEventListener("click", (event) => {
    if (event.shiftKey) return hideAllBut(name);
    const hidden = new Set(state.hidden);
    hidden[box.checked ? "delete" : "add"](name);
    set({ hidden });
  });
  const label = make("div", "", { class: "class-name", title });
  const color = make("i");
  color.style.background = css(unmarked ? PALE : entries.find(Boolean).color);
  label.append(color, make("span", title));
  label.addEventListener("dblclick", () => hideAllBut(name));
  const cells = [make("td"), make("td"), ...shown.map(({ text }) => make("td", text(entries)))];
  cells[0].append(box);
  cells[1].append(label);
  row.append(...cells);
  return [row];
}

// Everything if `name` is null, nothing if it is no class's.
function hideAllBut(name) {
  set({ hidden: new Set(name === null ? [] : allNames().filter((other) => other !== name)) });
}
