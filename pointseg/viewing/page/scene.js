// Drawing: the orbit camera, the points into a colour and a depth texture, and shading from the depths.

const POINT_VERTEX = `#version 300 es
in vec3 quantized;
in vec4 tint;
uniform mat4 project;
uniform vec3 origin, step_;
uniform float pixels, smallest, lift;
uniform vec2 lens;
out vec3 color;
void main() {
  color = tint.rgb;
  gl_Position = tint.a == 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : project * vec4(origin + quantized * step_, 1.0);
  gl_PointSize = min(max(pixels / gl_Position.w, smallest), 64.0);
  if (tint.a > 0.75) {
    // Drawn a little nearer than it is, or the surface around it would cover most of its disc.
    float nearer = max(gl_Position.w - lift, gl_Position.w * 0.5);
    gl_Position.z = (lens.x + lens.y / nearer) * gl_Position.w;
    gl_PointSize = min(max(gl_PointSize * 2.5, smallest * 7.0), 64.0);
  }
}`;

const POINT_FRAGMENT = `#version 300 es
precision mediump float;
in vec3 color;
out vec4 pixel;
void main() {
  vec2 off = gl_PointCoord - 0.5;
  if (dot(off, off) > 0.25) discard;
  pixel = vec4(color, 1.0);
}`;

const SHADE_VERTEX = `#version 300 es
void main() {
  gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0);
}`;

const SHADE_FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D colors, depths;
uniform vec3 paper;
uniform float near, far, unit, strength;
uniform int ring;
out vec4 pixel;
float metres(float d) { return near * far / (far - d * (far - near)); }
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy), last = textureSize(depths, 0) - 1;
  float own = texelFetch(depths, at, 0).r;
  if (own >= 1.0) { pixel = vec4(paper, 1.0); return; }
  float depth = metres(own), response = 0.0;
  for (int k = 0; k < 8; k++) {
    ivec2 beside = ivec2(k < 3 ? -1 : k > 4 ? 1 : 0, k == 0 || k == 3 || k == 5 ? -1 : k == 1 || k == 6 ? 0 : 1);
    float other = texelFetch(depths, clamp(at + ring * beside, ivec2(0), last), 0).r;
    if (other < 1.0) response += clamp((depth - metres(other)) / unit, 0.0, 0.2);
  }
  pixel = vec4(texelFetch(colors, at, 0).rgb * exp(-strength * response / 8.0), 1.0);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const at = (name) => gl.getUniformLocation(made, name);
  return { made, at };
}

const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

// Turns about the z axis (yaw) and tilts towards straight down (pitch = 90 degrees) around a target point.
class Orbit {
  constructor(low, high) {
    this.middle = low.map((v, a) => (v + high[a]) / 2);
    this.radius = Math.max(Math.hypot(...low.map((v, a) => high[a] - v)) / 2, 1e-3);
    this.fov = (45 * Math.PI) / 180;
    this.look("side");
  }

  look(view) {
    this.target = this.middle.slice();
    this.yaw = view === "top" ? 0 : (-35 * Math.PI) / 180;
    this.pitch = view === "top" ? Math.PI / 2 : (42 * Math.PI) / 180;
    this.distance = (this.radius / Math.sin(this.fov / 2)) ;
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

  // The projection with the picture's middle moved left by `shift` of its width, where the panel does not cover it,
  // and without the first `front` (0 to 1) of the scene's depth.
  matrix(aspect, shift, front) {
    const { right, up, forward } = this.axes();
    const eye = this.target.map((v, a) => v - forward[a] * this.distance);
    const reach = this.distance + Math.hypot(...this.target.map((v, a) => v - this.middle[a])) + this.radius;
    this.near = Math.max(this.distance * 0.01, this.distance - this.radius * (front > 0 ? 1 - 2 * front : 4));
    this.far = Math.max(reach * 1.05, this.near * 1.01);
    const f = 1 / Math.tan(this.fov / 2);
    const fy = f * Math.min(1, aspect * (1 - shift)), fx = fy / aspect;
    const a = (this.far + this.near) / (this.far - this.near), b = (-2 * this.far * this.near) / (this.far - this.near);
    this.lens = [a, b];
    const rows = [right, up, forward].map((axis) => [...axis, -dot(axis, eye)]);
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) {
      out[4 * c] = fx * rows[0][c] - shift * rows[2][c];
      out[4 * c + 1] = fy * rows[1][c];
      out[4 * c + 2] = a * rows[2][c] + (c === 3 ? b : 0);
      out[4 * c + 3] = rows[2][c];
    }
    return out;
  }
}

class Drawing {
  constructor(canvas, points) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false });
    if (!gl) throw new NoWebGL();
    Object.assign(this, { canvas, gl, points });
    const { origin, step } = points.header;
    this.orbit = new Orbit(origin, origin.map((v, a) => v + step[a] * 65535));
    this.splat = program(gl, POINT_VERTEX, POINT_FRAGMENT);
    this.shade = program(gl, SHADE_VERTEX, SHADE_FRAGMENT);
    this.positions = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.positions);
    gl.bufferData(gl.ARRAY_BUFFER, points.xyz, gl.STATIC_DRAW);
    this.tints = gl.createBuffer();
    this.frame = gl.createFramebuffer();
    this.size = [0, 0];
    this.skip = 1;
  }

  recolor() {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.tints);
    gl.bufferData(gl.ARRAY_BUFFER, this.points.rgba, gl.DYNAMIC_DRAW);
  }

  resize() {
    const { gl, canvas } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const size = [Math.max(1, Math.round(canvas.clientWidth * ratio)), Math.max(1, Math.round(canvas.clientHeight * ratio))];
    if (size[0] === this.size[0] && size[1] === this.size[1]) return;
    this.size = [canvas.width, canvas.height] = size;
    gl.deleteTexture(this.colors);
    gl.deleteTexture(this.depths);
    [this.colors, this.depths] = [gl.RGBA8, gl.DEPTH_COMPONENT24].map((format) => {
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, format, ...size);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      return texture;
    });
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.colors, 0);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, this.depths, 0);
  }

  matrix(shift, front) {
    return this.orbit.matrix(this.size[0] / this.size[1], shift, front);
  }

  // While the camera moves on a slow machine only every skip-th point is drawn; points lie along a space-filling
  // curve, so that is an even thinning.
  draw({ size, relief, paper, shift, front, moving }) {
    this.resize();
    const { gl, points, splat, shade } = this;
    const [width, height] = this.size;
    const stride = moving ? this.skip : 1;
    const ratio = width / this.canvas.clientWidth;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(...paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(splat.made);
    gl.uniformMatrix4fv(splat.at("project"), false, this.matrix(shift, front));
    gl.uniform2fv(splat.at("lens"), this.orbit.lens);
    gl.uniform1f(splat.at("lift"), 8 * points.header.spacing * size);
    gl.uniform3fv(splat.at("origin"), points.header.origin);
    gl.uniform3fv(splat.at("step_"), points.header.step);
    const focus = Math.min(width * (1 - shift), height) / (2 * Math.tan(this.orbit.fov / 2));
    gl.uniform1f(splat.at("pixels"), 3 * points.header.spacing * size * Math.sqrt(stride) * focus);
    gl.uniform1f(splat.at("smallest"), Math.max(1, ratio * Math.min(size, 1.5)));
    for (const [name, buffer, parts, kind, normal, bytes] of [
      ["quantized", this.positions, 3, gl.UNSIGNED_SHORT, false, 8],
      ["tint", this.tints, 4, gl.UNSIGNED_BYTE, true, 4],
    ]) {
      const slot = gl.getAttribLocation(splat.made, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(slot);
      gl.vertexAttribPointer(slot, parts, kind, normal, bytes * stride, 0);
    }
    gl.drawArrays(gl.POINTS, 0, Math.ceil(points.count / stride));
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.disable(gl.DEPTH_TEST);
    gl.useProgram(shade.made);
    [this.colors, this.depths].forEach((texture, k) => {
      gl.activeTexture(gl.TEXTURE0 + k);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.uniform1i(shade.at("colors"), 0);
    gl.uniform1i(shade.at("depths"), 1);
    gl.uniform3fv(shade.at("paper"), paper);
    gl.uniform1f(shade.at("near"), this.orbit.near);
    gl.uniform1f(shade.at("far"), this.orbit.far);
    gl.uniform1f(shade.at("unit"), this.orbit.radius);
    gl.uniform1f(shade.at("strength"), relief ? 22 : 0);
    gl.uniform1i(shade.at("ring"), Math.max(1, Math.round(ratio)));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

class NoWebGL extends Error {}
