// The list of classes with counts, scores and switches. Its rows stay, so that a switch keeps the keyboard's focus.

const BY = { gt: "ground truth", pred: "prediction", pseudo: "pseudo-label" };
let listed = ""; // what the rows were made for

function showClasses() {
  const by = views.map(({ header, points }) => filterBy(points, modeOf(header)));
  $("class-section").hidden = by.every((name) => name === null);
  const wanted = JSON.stringify([by, views.map((view) => view.number)]);
  if (wanted !== listed) {
    listed = wanted;
    $("classes-title").textContent = "classes by " + [...new Set(by.filter(Boolean).map((name) => BY[name]))].join(" and ");
    $("classes-head").replaceChildren(make("th"), ...["class", ...columns(by).map((column) => column.title)].map((title) => make("th", title, { scope: "col" })));
    $("classes").replaceChildren(...allNames().flatMap((name) => classRow(name, by)));
  }
  for (const box of $("classes").querySelectorAll("input")) box.checked = !state.hidden.has(box.dataset.name);
}

// Points and IoU of one cloud; of two their IoUs and the difference, or their points.
function columns(by) {
  const count = (k) => (entries) => (entries[k] && by[k] ? group(entries[k][by[k]]) : "–");
  const iou = (k) => (entries) => (entries[k] && entries[k].iou !== null ? percent(entries[k].iou) : "–");
  const scored = views.map((view) => view.header.miou !== null);
  if (views.length === 1) return [{ title: "points", text: count(0) }, ...(scored[0] ? [{ title: "IoU %", text: iou(0) }] : [])];
  if (!scored.some(Boolean)) return [{ title: "points A", text: count(0) }, { title: "points B", text: count(1) }];
  return [{ title: "IoU A", text: iou(0) }, { title: "IoU B", text: iou(1) }, { title: "B − A", text: difference }];
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

function classRow(name, by) {
  const entries = views.map((view) => entryOf(view, name));
  const counted = entries.reduce((sum, entry, k) => sum + ((entry && by[k] && entry[by[k]]) || 0), 0);
  if (!counted && !views.some(({ header }) => header.classes.some((c) => c.name === name))) return [];
  const row = make("tr", "", { class: counted ? "" : "absent" });
  const box = make("input", "", { type: "checkbox", "aria-label": name, "data-name": name });
  box.addEventListener("click", (event) => {
    if (event.shiftKey) return hideAllBut(name);
    const hidden = new Set(state.hidden);
    hidden[box.checked ? "delete" : "add"](name);
    set({ hidden });
  });
  const label = make("div", "", { class: "class-name", title: name });
  const color = make("i");
  color.style.background = css(entries.find(Boolean).color);
  label.append(color, make("span", name));
  label.addEventListener("dblclick", () => hideAllBut(name));
  const cells = [make("td"), make("td"), ...columns(by).map(({ text }) => make("td", text(entries)))];
  cells[0].append(box);
  cells[1].append(label);
  row.append(...cells);
  return [row];
}

// Everything if `name` is null, nothing if it is no class's.
function hideAllBut(name) {
  set({ hidden: new Set(name === null ? [] : allNames().filter((other) => other !== name)) });
}
