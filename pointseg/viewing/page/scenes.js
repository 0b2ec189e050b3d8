// The live page: which scenes there are, and changing between them.

const LONGEST = 32; // letters of a name in the list
const PATIENCE = 1500; // milliseconds until a silent server is explained
const byId = (id) => given.clouds.find((cloud) => String(cloud.id) === id);
let current = null, compared = null, loading = null;

function startLive() {
  $("scenes").hidden = false;
  $("filter").addEventListener("input", listScenes);
  $("scene").addEventListener("change", () => openClouds(byId($("scene").value), counterpart(byId($("scene").value))));
  $("compare").addEventListener("change", () => openClouds(current, byId($("compare").value)));
  if (!given.clouds.length) return stop("failed", "There is no scene to show.");
  if (given.clouds.length === 1) $("scenes").hidden = true;
  const first = (side) => given.clouds.find((cloud) => cloud.first === side);
  if (!openAddress()) openClouds(first("a") || given.clouds[0], first("b"), true);
}

// Opens what the address names; false if that is shown already or not there.
function openAddress() {
  const from = new URLSearchParams(location.hash.slice(1));
  const [a, b] = [byId(from.get("a")), byId(from.get("b"))];
  if (!a || (a === current && (b || null) === compared)) return false;
  openClouds(a, b, true);
  return true;
}

async function openClouds(a, b = null, fromAddress = false) {
  [current, compared] = [a, b || null];
  loading?.abort();
  const own = (loading = new AbortController());
  listScenes();
  listComparable();
  stop("loading", `Loading ${shortened(a.name, 60)} ...`);
  try {
    const clouds = [];
    for (const cloud of [a, b].filter(Boolean)) {
      const known = views.find((view) => view.id === cloud.id);
      const about = shortened([b && shortSource(cloud.source), cloud.name].filter(Boolean).join(" "), 60);
      const tell = (text) => own.signal.aborted || stop("loading", `Loading ${about}: ${text}`);
      const patience = setTimeout(tell, PATIENCE, "the server still reads it, or predicts it first");
      const progress = (text) => {
        clearTimeout(patience);
        tell(text);
      };
      try {
        clouds.push(known || (await fetchCloud(cloud, own.signal, progress)));
      } finally {
        clearTimeout(patience);
      }
    }
    if (!own.signal.aborted) show(clouds, fromAddress);
  } catch (error) {
    if (own.signal.aborted) return;
    views = [];
    $("controls").hidden = true;
    $("name").textContent = $("name").title = document.title = a.name;
    $("facts").replaceChildren();
    $("note").hidden = true;
    $("labels").replaceChildren();
    showPicked(null);
    stop("failed", error.message);
  }
}

// With two clouds shown, the next scene is compared with its twin of the same other source.
function counterpart(cloud) {
  if (!compared) return null;
  const source = cloud.source === compared.source ? current.source : compared.source;
  return given.clouds.find((other) => other.name === cloud.name && other.source === source && other !== cloud) || null;
}

const matching = () => {
  const wanted = $("filter").value.trim().toLowerCase();
  return given.clouds.filter((cloud) => `${cloud.source} ${cloud.name}`.toLowerCase().includes(wanted));
};

function stepScene(by) {
  const list = matching();
  if (!list.length) return;
  const at = list.indexOf(current);
  const next = list[at < 0 ? 0 : (at + by + list.length) % list.length];
  if (next !== current) openClouds(next, counterpart(next));
}

// Entries of a list, under headings where `label` gives one.
function options(clouds, label) {
  return [...new Set(clouds.map(label))].flatMap((source) => {
    const entries = clouds.filter((cloud) => label(cloud) === source).map((cloud) => make("option", shortened(cloud.name || "scene", LONGEST), { value: cloud.id, title: cloud.name }));
    if (!source) return entries;
    const named = make("optgroup", "", { label: shortened(shortSource(source), LONGEST), title: source });
    named.append(...entries);
    return [named];
  });
}

function listScenes() {
  const list = matching();
  const several = new Set(given.clouds.map((cloud) => cloud.source)).size > 1;
  $("scene").replaceChildren(...options(list, (cloud) => (several ? cloud.source : "")));
  $("scene").size = within(given.clouds.length + (several ? 2 : 0), 2, 7);
  $("scene").value = current && list.includes(current) ? current.id : "";
  if (!list.length) $("scene").append(make("option", "no scene has this in its name", { disabled: "" }));
}

function listComparable() {
  const others = given.clouds.filter((cloud) => cloud !== current);
  const same = others.filter((cloud) => cloud.name === current.name);
  const rest = others.filter((cloud) => cloud.name !== current.name);
  const twins = same.map((cloud) => make("option", shortened(shortSource(cloud.source) || cloud.name, LONGEST), { value: cloud.id, title: cloud.source }));
  const twinGroup = make("optgroup", "", { label: "this scene of" });
  twinGroup.append(...twins);
  $("compare").replaceChildren(make("option", "nothing", { value: "" }), ...(twins.length ? [twinGroup] : []), ...options(rest, (cloud) => cloud.source));
  $("compare").value = compared ? compared.id : "";
}
