// The points of one cloud: unpacked, and asked about. All on the processor, so that every count shown is exact.

const PACKING = "deflate-raw";
const TYPES = { u1: Uint8Array, u2: Uint16Array };

function fromBase64(text) {
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// The fields in a stream of deflated bytes.
async function unpack(header, stream) {
  const bytes = await new Response(stream.pipeThrough(new DecompressionStream(PACKING))).arrayBuffer();
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
  if (at !== bytes.byteLength) throw new Error("the points do not have the size that was stated");
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

class Points {
  constructor(header, fields) {
    this.header = header;
    this.count = header.shown;
    this.origin = header.origin;
    this.none = header.none;
    this.xyz = interleave(fields.xyz, this.count);
    delete fields.xyz;
    this.fields = fields;
    this.rgba = new Uint32Array(this.count);
    this.colors = new Colors(header);
  }

  position(i) {
    return [0, 1, 2].map((a) => this.origin[a] + this.xyz[4 * i + a] * this.header.step[a]);
  }

  // The nearest shown point beyond `near` metres and within `reach` pixels of (x, y); `project` is the camera's 4x4
  // matrix, column by column.
  pick(x, y, width, height, project, near, reach) {
    const { xyz, rgba, count, origin } = this;
    const { step } = this.header;
    let best = -1, bestCost = Infinity;
    for (let i = 0; i < count; i++) {
      if (rgba[i] === 0) continue;
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

  // The shown point nearest to a position, -1 if none is within `reach` metres.
  nearest(position, reach) {
    const { xyz, rgba, count, origin } = this;
    const { step } = this.header;
    const [x, y, z] = position.map((v, a) => v - origin[a]);
    let best = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      if (rgba[i] === 0) continue;
      const dx = xyz[4 * i] * step[0] - x, dy = xyz[4 * i + 1] * step[1] - y, dz = xyz[4 * i + 2] * step[2] - z;
      const away = dx * dx + dy * dy + dz * dz;
      if (away <= least) [best, least] = [i, away];
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
    if (fields.entropy) rows.push(["entropy", ((fields.entropy[i] / 255) * header.entropy_max).toFixed(2) + " nats"]);
    if (fields.pseudo) rows.push(["pseudo-label", name(fields.pseudo[i])]);
    if (fields.annotated && fields.annotated[i] !== none) rows.push(["annotated as", name(fields.annotated[i])]);
    const world = [0, 1, 2].map((a) => (header.origin[a] + this.xyz[4 * i + a] * header.step[a] + header.offset[a]).toFixed(3));
    rows.push(["x y z (m)", world.join("  ")]);
    if (fields.rgb) rows.push(["colour", Array.from(fields.rgb.subarray(3 * i, 3 * i + 3)).join(" ")]);
    if (fields.normal) rows.push(["normal", Array.from(fields.normal.subarray(3 * i, 3 * i + 3), (v) => (v / 127.5 - 1).toFixed(2)).join("  ")]);
    return rows;
  }
}
