// A colour for every point that is shown: one 32-bit number, 0xAABBGGRR. Class colours come with the page, whatever
// palette they are of.

const ENLARGED = 0xff000000, PLAIN = 0x80000000; // the alpha says how it is drawn; without one it is hidden

const packed = ([r, g, b]) => r | (g << 8) | (b << 16);

function rampTable(stops) {
  return Uint32Array.from({ length: 256 }, (_, v) => {
    const t = v / 255;
    let k = 1;
    while (k < stops.length - 1 && t > stops[k][0]) k++;
    const [a, from] = stops[k - 1], [b, to] = stops[k];
    return packed([0, 1, 2].map((c) => Math.round(from[c] + ((to[c] - from[c]) * (t - a)) / (b - a))));
  });
}

class Colors {
  constructor(header) {
    this.classes = Uint32Array.from([...header.classes.map((c) => c.color), header.colors.ignored], packed);
    this.confidence = rampTable(header.ramps.confidence);
    this.height = rampTable(header.ramps.height);
    [this.right, this.wrong, this.ignored] = ["right", "wrong", "ignored"].map((name) => packed(header.colors[name]));
  }
}

// Which labels the class switches act on: what the colouring shows, or else what is known.
function filterBy({ fields }, mode) {
  const wanted = { pred: "pred", confidence: "pred", entropy: "pred", pseudo: "pseudo" }[mode];
  return [wanted, "gt", "pred", "pseudo", "annotated"].find((name) => name && fields[name]) || null;
}

// Fills points.rgba; 0 hides a point. Returns how many points are shown.
function paint(points, mode) {
  const { fields, rgba, xyz, none, count, header } = points;
  const { gt, pred, annotated } = fields;
  const colorOf = painter(points, mode);
  const ids = fields[filterBy(points, mode)];
  const hidden = Uint8Array.from(classNames(header), (name) => (state.hidden.has(name) ? 1 : 0));
  const [x0, x1, y0, y1, z0, z1] = boxSteps(points);
  const enlarge = mode === "annotated";
  const onlyWrong = state.wrong && gt && pred;
  let shown = 0;
  for (let i = 0; i < count; i++) {
    const x = xyz[4 * i], y = xyz[4 * i + 1], z = xyz[4 * i + 2];
    rgba[i] = 0;
    if (x < x0 || x > x1 || y < y0 || y > y1 || z < z0 || z > z1) continue;
    if (ids && hidden[ids[i]]) continue;
    if (onlyWrong && (gt[i] === none || gt[i] === pred[i])) continue;
    rgba[i] = colorOf(i) | (enlarge && annotated[i] !== none ? ENLARGED : PLAIN);
    shown++;
  }
  return shown;
}

// The six planes of the box in the cloud's own steps.
function boxSteps({ origin, header }) {
  return [0, 1, 2].flatMap((a) => {
    const at = (share) => (bounds.low[a] + share * bounds.size[a] - origin[a]) / header.step[a];
    return [state.low[a] <= 0 ? -Infinity : at(state.low[a]), state.high[a] >= 1 ? Infinity : at(state.high[a])];
  });
}

// A function from a point's number to its colour.
function painter({ fields, none, xyz, colors, origin, header }, mode) {
  const { rgb, gt, pred, pseudo, confidence, entropy, annotated, normal } = fields;
  const of = (table, i) => table[3 * i] | (table[3 * i + 1] << 8) | (table[3 * i + 2] << 16);
  const scale = (255 * header.step[2]) / bounds.size[2], base = (255 * (origin[2] - bounds.low[2])) / bounds.size[2];
  const pale = (i) => {
    const grey = rgb ? 150 + 0.35 * (0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2]) : 215;
    return (grey | 0) * 0x010101;
  };
  return {
    rgb: (i) => of(rgb, i),
    gt: (i) => colors.classes[gt[i]],
    pred: (i) => colors.classes[pred[i]],
    error: (i) => (gt[i] === none ? colors.ignored : gt[i] === pred[i] ? colors.right : colors.wrong),
    confidence: (i) => colors.confidence[confidence[i]],
    entropy: (i) => colors.confidence[255 - entropy[i]],
    pseudo: (i) => colors.classes[pseudo[i]],
    annotated: (i) => (annotated[i] !== none ? colors.classes[annotated[i]] : pale(i)),
    height: (i) => colors.height[Math.min(255, (base + scale * xyz[4 * i + 2]) | 0)],
    normal: (i) => of(normal, i),
  }[mode];
}
