// What the panel at the right says: scores, keys to the colours, the list of classes.

function showHead() {
  $("name").textContent = header.name;
  const facts = [`${group(header.total)} points`];
  if (header.miou !== null) facts.push(`mIoU ${(100 * header.miou).toFixed(1)} %`, `${(100 * header.wrong).toFixed(1)} % wrong`);
  $("facts").textContent = facts.join(" · ");
  $("note").hidden = !header.note;
  $("note").textContent = header.note;
  if (innerWidth < 700) document.body.classList.add("folded");
}

function showPanel(shown) {
  document.body.dataset.background = state.dark ? "dark" : "light";
  for (const button of $("modes").children) button.setAttribute("aria-checked", button.dataset.mode === state.mode);
  $("size").value = state.size;
  $("size-value").textContent = state.size.toFixed(2) + "×";
  $("cut").value = state.cut;
  $("cut-value").textContent = state.cut >= 1 ? "off" : (state.cut * header.step[2] * 65535).toFixed(2) + " m";
  $("front").value = state.front;
  $("front-value").textContent = state.front > 0 ? Math.round(100 * state.front) + " %" : "off";
  $("wrong").checked = state.wrong;
  $("relief").checked = state.relief;
  $("dark").checked = state.dark;
  $("shown").textContent = `${group(shown)} of ${group(points.count)} points drawn`;
  showKey();
  showClasses();
}

function showKey() {
  const { right, wrong, ignored } = header.colors;
  const swatch = (color, text) => {
    const item = make("span", " " + text);
    const box = make("i");
    box.style.background = css(color);
    item.prepend(box);
    return item;
  };
  const bar = (stops, low, high) => {
    const strip = make("span", "", { class: "bar" });
    strip.style.background = `linear-gradient(90deg, ${stops.map(([t, c]) => `${css(c)} ${100 * t}%`).join(", ")})`;
    return [make("span", low), strip, make("span", high)];
  };
  const zs = [0, 65535].map((q) => (header.origin[2] + header.offset[2] + q * header.step[2]).toFixed(1) + " m");
  const keys = {
    error: () => [swatch(right, "right"), swatch(wrong, "wrong"), swatch(ignored, "no truth")],
    confidence: () => bar(header.ramps.confidence, "0", "1"),
    height: () => bar(header.ramps.height, ...zs),
    annotated: () => [make("span", `${group(header.annotated)} annotated points, enlarged, in class colours`)],
  };
  $("key").replaceChildren(...(keys[state.mode] ? keys[state.mode]() : []));
}

function showClasses() {
  const by = points.filterBy(state.mode);
  $("class-section").hidden = by === null;
  if (by === null) return;
  $("classes-title").textContent = by === "gt" ? "classes by ground truth" : "classes by prediction";
  $("iou-head").hidden = header.miou === null;
  const rows = [...header.classes, { name: "ignored", color: header.colors.ignored, iou: null, ...header.ignored }];
  $("classes").replaceChildren(...rows.flatMap((entry, k) => {
    const id = classId(k);
    if (id === header.none && !entry[by]) return [];
    const row = make("tr", "", { class: entry[by] ? "" : "absent" });
    const box = make("input", "", { type: "checkbox", "aria-label": entry.name });
    box.checked = !state.hidden.has(id);
    box.addEventListener("change", () => {
      state.hidden[box.checked ? "delete" : "add"](id);
      refresh();
    });
    const name = make("td", " " + entry.name);
    const color = make("i");
    color.style.background = css(entry.color);
    name.prepend(color);
    name.addEventListener("dblclick", () => hideAllBut(id));
    const first = make("td");
    first.append(box);
    row.append(first, name, make("td", group(entry[by])));
    if (header.miou !== null) row.append(make("td", entry.iou === null ? "–" : (100 * entry.iou).toFixed(1)));
    return [row];
  }));
}

function hideAllBut(id) {
  const all = classNames().map((_, k) => classId(k));
  state.hidden = new Set(id === null ? [] : all.filter((k) => k !== id));
  refresh();
}
