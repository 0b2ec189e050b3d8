// What the panel at the right says: scores, colourings with the key to their colours, sliders, kept views.

const AXES = ["x", "y", "z"];

function scoreText({ header }) {
  return header.miou === null ? "" : `mIoU\u00a0${percent(header.miou)}\u00a0%`;
}

// Once for each scene.
function showScene() {
  const [{ header }] = views;
  $("name").textContent = $("name").title = document.title = header.name || "scene";
  $("facts").replaceChildren(...views.map((view, k) => {
    const { total, miou, wrong } = view.header;
    const pair = views.length > 1; // whose halves say the mIoU themselves
    const texts = [pair ? "AB"[k] : "", `${group(total)} point${total === 1 ? "" : "s"}`, pair ? "" : scoreText(view)];
    if (miou !== null) texts.push(`${percent(wrong)} % wrong`);
    const line = make("div");
    line.append(...texts.filter(Boolean).map((text) => make("span", text)));
    return line;
  }));
  const notes = views.map((view, k) => view.header.note && (views.length > 1 ? `${"AB"[k]}: ` : "") + view.header.note).filter(Boolean);
  const { mode: wished } = given.start;
  if (wished && state.mode === wished && !modes().some((mode) => mode.id === wished)) {
    notes.push(`This scene cannot be shown as "${wished}"; it lacks the data.`);
  }
  $("note").hidden = !notes.length;
  $("note").replaceChildren(...notes.map((text) => make("div", text)));
  showLabels();
  $("modes").replaceChildren(...modes().map((mode, k) => {
    const button = make("button", mode.title, { type: "button", "data-mode": mode.id, title: mode.title });
    if (k < 10) button.prepend(make("kbd", String((k + 1) % 10)));
    button.addEventListener("click", () => set({ mode: mode.id }));
    return button;
  }));
  $("wrong-row").hidden = !canBeWrong();
  $("ceiling").hidden = ceiling >= 1;
  for (const input of $("box").querySelectorAll("input")) input.disabled = bounds.size[input.dataset.axis] < 1e-5;
}

// Two halves say what they are.
function showLabels() {
  const same = views.every((view) => view.header.name === views[0].header.name);
  $("labels").replaceChildren(...(views.length < 2 ? [] : views.map((view, k) => {
    const source = same || sources.length > 1 ? shortSource(view.header.source) : "";
    const named = [`${"AB"[k]}:`, source, same ? "" : view.header.name].filter(Boolean).join(" ");
    const shown = modeOf(view.header) === state.mode || !state.mode ? "" : view.header.modes.find((m) => m.id === modeOf(view.header)).title;
    const box = make("div");
    box.append(make("span", [named, scoreText(view), shown].filter(Boolean).join(" · "), { title: `${view.header.source} ${view.header.name}` }));
    return box;
  })));
}

function makeBox() {
  AXES.forEach((axis, a) => {
    const range = make("div", "", { class: "range" });
    const ends = [["low", "from"], ["high", "to"]].map(([end, word]) => {
      const input = make("input", "", { type: "range", min: 0, max: 1, step: 0.005, id: `${axis}-${end}`, "data-axis": a, "aria-label": `${axis} ${word}` });
      input.addEventListener("input", () => {
        const ends = state[end].slice();
        ends[a] = end === "low" ? Math.min(+input.value, state.high[a] - 0.005) : Math.max(+input.value, state.low[a] + 0.005);
        set({ [end]: ends });
      });
      return input;
    });
    range.append(make("i"), ...ends);
    $("box").append(make("span", axis === "z" ? "z, cut" : axis), range, make("output", "", { id: `${axis}-value` }));
  });
}

function showBox() {
  AXES.forEach((axis, a) => {
    const [low, high] = [state.low[a], state.high[a]];
    $(`${axis}-low`).value = low;
    $(`${axis}-high`).value = high;
    // Both handles at the right end: the lower one must be the one to grab.
    $(`${axis}-low`).style.zIndex = low > 0.5 ? 1 : 0;
    Object.assign($(`${axis}-low`).parentNode.querySelector("i").style, { left: `${100 * low}%`, right: `${100 - 100 * high}%` });
    const text = [low, high].map((share) => (share * bounds.size[a]).toFixed(bounds.size[a] < 100 ? 2 : 0)).join("–") + " m";
    $(`${axis}-value`).textContent = bounds.size[a] < 1e-5 ? "flat" : low <= 0 && high >= 1 ? "all" : text;
    for (const [end, share] of [["low", low], ["high", high]]) $(`${axis}-${end}`).setAttribute("aria-valuetext", `${(share * bounds.size[a]).toFixed(2)} metres`);
  });
}

function showPanel(shown) {
  document.body.dataset.background = state.dark ? "dark" : "light";
  const mode = modes().some((m) => m.id === state.mode) ? state.mode : modeOf(views[0].header);
  for (const button of $("modes").children) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  $("size").value = state.size;
  $("size-value").textContent = state.size.toFixed(2) + "×";
  $("front").value = state.front;
  $("front-value").textContent = state.front > 0 ? Math.round(100 * state.front) + " %" : "off";
  for (const key of ["wrong", "relief", "dark"]) $(key).checked = state[key];
  const each = shown.map((count, k) => `${group(count)} of ${group(views[k].points.count)}`);
  $("shown").textContent = each.join(" and ") + " points drawn";
  showBox();
  showKey(mode);
  showKept();
  showClasses();
}

function showKept() {
  if ($("kept").childElementCount === state.saved.length) return;
  $("kept").replaceChildren(...state.saved.map((_, k) => {
    const button = make("button", String(k + 1), { type: "button", title: `kept view ${k + 1} (Shift ${k + 1})` });
    button.addEventListener("click", () => recall(k));
    return button;
  }));
}

function showKey(mode) {
  const { header } = views.find((view) => hasMode(view.header, mode)) || views[0];
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
  const z = bounds.low[2] + views[0].header.offset[2];
  const metres = (v) => `${v.toFixed(1).replace(/^-(?=0\.0$)/, "")} m`;
  const surest = header.ramps.confidence.map(([t, c]) => [1 - t, c]).reverse();
  const keys = {
    error: () => [swatch(right, "right"), swatch(wrong, "wrong"), swatch(ignored, "no truth")],
    confidence: () => bar(header.ramps.confidence, "0", "1"),
    entropy: () => bar(surest, "0", `${header.entropy_max.toFixed(2)} nats, even chances`),
    pseudo: () => [swatch(ignored, "no pseudo-label")],
    height: () => bar(header.ramps.height, metres(z), metres(z + bounds.size[2])),
    annotated: () => [make("span", `${group(header.annotated)} annotated points, enlarged, in class colours`)],
    normal: () => [make("span", "x, y, z from −1 to 1 as red, green, blue")],
  };
  $("key").replaceChildren(...(keys[mode] ? keys[mode]() : []));
}
