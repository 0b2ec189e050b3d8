// The camera: turns about the z axis (yaw) and tilts towards straight down (pitch = 90 degrees) around a target point.

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const DEGREE = Math.PI / 180;
const FILLED = 0.94; // of the picture, by the scene at the start

class Orbit {
  // Of a scene's box, of which the share `ceiling` of the height is shown at the start.
  constructor({ low, size }, ceiling) {
    const half = [size[0] / 2, size[1] / 2, (size[2] * ceiling) / 2];
    this.middle = low.map((v, a) => v + half[a]);
    this.radius = Math.max(Math.hypot(...size) / 2, 1e-3);
    this.corners = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => half.map((h, a) => ((k >> a) & 1 ? h : -h)));
    this.fov = 45 * DEGREE;
    this.look("side", 1);
    this.opening = this.openingFront();
  }

  // From the side or from above, as near as the box fits into a picture so many times wider than high.
  look(view, aspect) {
    this.target = this.middle.slice();
    this.yaw = view === "top" ? 0 : -35 * DEGREE;
    this.pitch = (view === "top" ? 90 : 42) * DEGREE;
    const { right, up, forward } = this.axes();
    const [fx, fy] = this.focus(aspect);
    const needed = this.corners.map((corner) => Math.max(fx * Math.abs(dot(corner, right)), fy * Math.abs(dot(corner, up))) / FILLED - dot(corner, forward));
    this.distance = Math.max(1.2 * this.radius, ...needed);
  }

  // The cut at the front that, from the side, keeps the floor and takes away what stands between it and the viewer.
  openingFront() {
    const floor = this.corners.filter((corner) => corner[2] <= 0).map((corner) => dot(corner, this.axes().forward));
    return Math.round(200 * within((1 + Math.min(...floor) / this.radius) / 2, 0, 0.45)) / 200;
  }

  focus(aspect) {
    const fy = Math.min(1, aspect) / Math.tan(this.fov / 2);
    return [fy / aspect, fy];
  }

  // The whole camera as six numbers: target (metres), yaw and pitch (degrees), distance (metres).
  get pose() {
    const short = (v) => +v.toPrecision(7);
    return [...this.target, this.yaw / DEGREE, this.pitch / DEGREE, this.distance].map(short);
  }

  set pose(six) {
    this.target = six.slice(0, 3);
    this.yaw = six[3] * DEGREE;
    this.pitch = six[4] * DEGREE;
    this.distance = six[5];
    this.turn(0, 0);
    this.zoom(1);
  }

  axes() {
    const [sy, cy, sp, cp] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch)];
    const forward = [-sy * cp, cy * cp, -sp];
    const right = [cy, sy, 0];
    return { right, up: cross(right, forward), forward };
  }

  turn(dx, dy) {
    this.yaw -= dx * 0.006;
    this.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, this.pitch + dy * 0.006));
  }

  move(dx, dy, height) {
    const { right, up } = this.axes();
    const metres = (2 * this.distance * Math.tan(this.fov / 2)) / height;
    for (let a = 0; a < 3; a++) this.target[a] += (-dx * right[a] + dy * up[a]) * metres;
  }

  zoom(factor) {
    this.distance = Math.min(this.radius * 20, Math.max(this.radius * 0.002, this.distance * factor));
  }

  // The projection, without the first `front` (0 to 1) of the scene's depth.
  matrix(aspect, front) {
    const { right, up, forward } = this.axes();
    const eye = this.target.map((v, a) => v - forward[a] * this.distance);
    const reach = this.distance + Math.hypot(...this.target.map((v, a) => v - this.middle[a])) + this.radius;
    const middle = dot(this.middle.map((v, a) => v - eye[a]), forward);
    this.near = Math.max(this.distance * 0.01, middle - this.radius * (front > 0 ? 1 - 2 * front : 4));
    this.far = Math.max(reach * 1.05, this.near * 1.01);
    const [fx, fy] = this.focus(aspect);
    const a = (this.far + this.near) / (this.far - this.near), b = (-2 * this.far * this.near) / (this.far - this.near);
    this.lens = [a, b];
    const rows = [right, up, forward].map((axis) => [...axis, -dot(axis, eye)]);
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) {
      out[4 * c] = fx * rows[0][c];
      out[4 * c + 1] = fy * rows[1][c];
      out[4 * c + 2] = a * rows[2][c] + (c === 3 ? b : 0);
      out[4 * c + 3] = rows[2][c];
    }
    return out;
  }
}
