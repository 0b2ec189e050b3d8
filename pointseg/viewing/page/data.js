// The points: unpacked from the page, coloured and filtered on the processor, so that every count shown is exact.

const TYPES = { u1: Uint8Array, u2: Uint16Array };

async function unpackPayload(header, text) {
  const packed = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const bytes = await new Response(stream).arrayBuffer();
  const fields = {};
  let at = 0;
  for (const field of header.fields) {
    const kind = TYPES[field.dtype];
    const size = header.shown * field.width * kind.BYTES_PER_ELEMENT;
    // A copy, because a typed array must start at a multiple of its element size.
    const values = new kind(bytes.slice(at, at + size));
    if (field.delta) undoDifferences(values, header.shown, field.width);
    fields[field.name] = values;
    at += size;
  }
  if (at !== bytes.byteLength) throw new Error("the page is damaged: its points do not have the stated size");
  return fields;
}

// Each of the width planes holds differences between neighbours, modulo 65536.
function undoDifferences(values, count, width) {
  for (let plane = 0; plane < width; plane++) {
    let sum = 0;
    for (let i = plane * count, end = i + count; i < end; i++) {
      sum = (sum + values[i]) & 0xffff;
      values[i] = sum;
    }
  }
}

// Planes x, y, z -> interleaved x, y, z, pad: the layout the graphics card reads fastest.
function interleave(planes, count) {
  const out = new Uint16Array(count * 4);
  for (let i = 0; i < count; i++) {
    out[4 * i] = planes[i];
    out[4 * i + 1] = planes[count + i];
    out[4 * i + 2] = planes[2 * count + i];
  }
  return out;
}

function rampTable(stops) {
  const table = new Uint8Array(256 * 3);
  for (let v = 0; v < 256; v++) {
    const t = v / 255;
    let k = 1;
    while (k < stops.length - 1 && t > stops[k][0]) k++;
    const [a, from] = stops[k - 1], [b, to] = stops[k];
    for (let c = 0; c < 3; c++) table[3 * v + c] = Math.round(from[c] + ((to[c] - from[c]) * (t - a)) / (b - a));
  }
  return table;
}

class Points {
  constructor(header, fields) {
    this.header = header;
    this.count = header.shown;
    this.xyz = interleave(fields.xyz, this.count);
    this.fields = fields;
    this.rgba = new Uint8Array(this.count * 4);
    this.none = header.none;
    this.palette = new Uint8Array((this.none + 1) * 3).fill(0);
    header.classes.forEach((c, k) => this.palette.set(c.color, 3 * k));
    this.palette.set(header.colors.ignored, 3 * this.none);
    this.confidenceRamp = rampTable(header.ramps.confidence);
    this.heightRamp = rampTable(header.ramps.height);
  }

  position(i) {
    const { origin, step } = this.header;
    return [0, 1, 2].map((a) => origin[a] + this.xyz[4 * i + a] * step[a]);
  }

  // Which labels the class switches act on: what the colouring shows, or else what is known.
  filterBy(mode) {
    const wanted = { gt: "gt", error: "gt", pred: "pred", confidence: "pred", annotated: "annotated" }[mode];
    if (wanted === "annotated") return this.fields.gt ? "gt" : this.fields.pred ? "pred" : null;
    if (wanted && this.fields[wanted]) return wanted;
    return this.fields.gt ? "gt" : this.fields.pred ? "pred" : null;
  }

  // Fills rgba; alpha 0 hides a point and 255 enlarges it. Returns how many points are shown.
  paint(state) {
    const { fields, rgba, xyz, none, count } = this;
    const { gt, pred, annotated } = fields;
    const paintOne = this.painter(state.mode);
    const ids = fields[this.filterBy(state.mode)];
    const hidden = new Uint8Array(none + 1);
    state.hidden.forEach((k) => (hidden[k] = 1));
    const top = state.cut * 65535;
    const enlarge = state.mode === "annotated";
    let shown = 0;
    for (let i = 0; i < count; i++) {
      const at = 4 * i;
      const off = xyz[at + 2] > top || (ids && hidden[ids[i]]) || (state.wrong && !(gt[i] !== none && gt[i] !== pred[i]));
      rgba[at + 3] = 0;
      if (off) continue;
      paintOne(i, at);
      rgba[at + 3] = enlarge && annotated[i] !== none ? 255 : 128;
      shown++;
    }
    return shown;
  }

  // A function (point, byte offset) that writes one colour.
  painter(mode) {
    const { fields, rgba, none, palette, xyz } = this;
    const { rgb, gt, pred, confidence, annotated } = fields;
    const { right, wrong, ignored } = this.header.colors;
    const copy = (table, from, at) => {
      rgba[at] = table[from];
      rgba[at + 1] = table[from + 1];
      rgba[at + 2] = table[from + 2];
    };
    const painters = {
      rgb: (i, at) => copy(rgb, 3 * i, at),
      gt: (i, at) => copy(palette, 3 * gt[i], at),
      pred: (i, at) => copy(palette, 3 * pred[i], at),
      error: (i, at) => copy(gt[i] === none ? ignored : gt[i] === pred[i] ? right : wrong, 0, at),
      confidence: (i, at) => copy(this.confidenceRamp, 3 * confidence[i], at),
      height: (i, at) => copy(this.heightRamp, 3 * (xyz[at + 2] >> 8), at),
      annotated: (i, at) => {
        if (annotated[i] !== none) return copy(palette, 3 * annotated[i], at);
        const grey = rgb ? 150 + 0.35 * (0.299 * rgb[3 * i] + 0.587 * rgb[3 * i + 1] + 0.114 * rgb[3 * i + 2]) : 215;
        rgba[at] = rgba[at + 1] = rgba[at + 2] = grey;
      },
    };
    return painters[mode];
  }

  // The nearest shown point beyond `near` metres and within `reach` pixels of (x, y); `project` is the camera's 4x4
  // matrix, column by column.
  pick(x, y, width, height, project, near, reach) {
    const { xyz, rgba, count, header } = this;
    const { origin, step } = header;
    let best = -1, bestCost = Infinity;
    for (let i = 0; i < count; i++) {
      if (rgba[4 * i + 3] === 0) continue;
      const px = origin[0] + xyz[4 * i] * step[0], py = origin[1] + xyz[4 * i + 1] * step[1], pz = origin[2] + xyz[4 * i + 2] * step[2];
      const w = project[3] * px + project[7] * py + project[11] * pz + project[15];
      if (w < near) continue;
      const dx = ((project[0] * px + project[4] * py + project[8] * pz + project[12]) / w + 1) * 0.5 * width - x;
      if (dx > reach || dx < -reach) continue;
      const dy = (1 - (project[1] * px + project[5] * py + project[9] * pz + project[13]) / w) * 0.5 * height - y;
      const away = dx * dx + dy * dy;
      if (away > reach * reach) continue;
      // One pixel off counts as much as half a percent further away, so surfaces win over what lies behind them.
      const cost = w * (1 + 0.005 * Math.sqrt(away));
      if (cost < bestCost) [best, bestCost] = [i, cost];
    }
    return best;
  }

  // What is known about point i, as [label, text] pairs.
  describe(i) {
    const { fields, none, header } = this;
    const name = (k) => (k === none ? "none" : header.classes[k].name);
    const rows = [];
    if (fields.gt) rows.push(["truth", fields.gt[i] === none ? "ignored" : name(fields.gt[i])]);
    if (fields.pred) rows.push(["prediction", name(fields.pred[i])]);
    if (fields.confidence) rows.push(["confidence", (fields.confidence[i] / 255).toFixed(2)]);
    if (fields.annotated && fields.annotated[i] !== none) rows.push(["annotated as", name(fields.annotated[i])]);
    const world = this.position(i).map((v, a) => (v + header.offset[a]).toFixed(3));
    rows.push(["x y z (m)", world.join("  ")]);
    if (fields.rgb) rows.push(["colour", Array.from(fields.rgb.subarray(3 * i, 3 * i + 3)).join(" ")]);
    return rows;
  }
}
