// Drawing: the points of one cloud, or of two in halves, into a colour and a depth texture, then shading from the depths.

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
uniform ivec4 window; // first and last pixel of this half
uniform int ring;
out vec4 pixel;
float metres(float d) { return near * far / (far - d * (far - near)); }
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  float own = texelFetch(depths, at, 0).r;
  if (own >= 1.0) { pixel = vec4(paper, 1.0); return; }
  float depth = metres(own), response = 0.0;
  for (int k = 0; k < 8; k++) {
    ivec2 beside = ivec2(k < 3 ? -1 : k > 4 ? 1 : 0, k == 0 || k == 3 || k == 5 ? -1 : k == 1 || k == 6 ? 0 : 1);
    float other = texelFetch(depths, clamp(at + ring * beside, window.xy, window.zw), 0).r;
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

class Drawing {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false });
    if (!gl) throw new NoWebGL();
    Object.assign(this, { canvas, gl, parts: [], size: [0, 0], skip: 1 });
    this.splat = program(gl, POINT_VERTEX, POINT_FRAGMENT);
    this.shade = program(gl, SHADE_VERTEX, SHADE_FRAGMENT);
    this.frame = gl.createFramebuffer();
  }

  // The clouds to draw from now on, side by side if they are two; `bounds` hold them all, the share `ceiling` of their
  // height is shown at the start.
  show(clouds, bounds, ceiling) {
    const { gl } = this;
    for (const { positions, tints } of this.parts) [positions, tints].forEach((buffer) => gl.deleteBuffer(buffer));
    this.parts = clouds.map((points) => ({ points, positions: gl.createBuffer(), tints: gl.createBuffer() }));
    for (const { points, positions } of this.parts) {
      gl.bindBuffer(gl.ARRAY_BUFFER, positions);
      gl.bufferData(gl.ARRAY_BUFFER, points.xyz, gl.STATIC_DRAW);
    }
    this.orbit = new Orbit(bounds, ceiling);
    this.skip = 1;
  }

  look(view) {
    const { clientWidth, clientHeight } = this.canvas;
    this.orbit.look(view, Math.max(clientWidth, 1) / this.parts.length / Math.max(clientHeight, 1));
  }

  recolor() {
    const { gl } = this;
    for (const { points, tints } of this.parts) {
      gl.bindBuffer(gl.ARRAY_BUFFER, tints);
      gl.bufferData(gl.ARRAY_BUFFER, points.rgba, gl.DYNAMIC_DRAW);
    }
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

  // The camera's matrix for the page's half `width` by `height`.
  matrix(width, height, front) {
    return this.orbit.matrix(width / height, front);
  }

  // While the camera moves on a slow machine only every skip-th point is drawn; points lie along a space-filling
  // curve, so that is an even thinning.
  draw({ size, relief, paper, front, moving }) {
    this.resize();
    const { gl, splat, shade } = this;
    const [width, height] = this.size;
    const edges = this.parts.map((_, k) => Math.round((k * width) / this.parts.length)).concat(width);
    const stride = moving ? this.skip : 1;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.enable(gl.DEPTH_TEST);
    gl.clearColor(...paper, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.useProgram(splat.made);
    this.parts.forEach((part, k) => {
      gl.viewport(edges[k], 0, edges[k + 1] - edges[k], height);
      this.drawPoints(part, edges[k + 1] - edges[k], height, size, front, stride);
    });
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
    gl.uniform1i(shade.at("ring"), Math.max(1, Math.round(width / this.canvas.clientWidth)));
    this.parts.forEach((_, k) => {
      gl.viewport(edges[k], 0, edges[k + 1] - edges[k], height);
      gl.uniform4i(shade.at("window"), edges[k], 0, edges[k + 1] - 1, height - 1);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    });
  }

  drawPoints({ points, positions, tints }, width, height, size, front, stride) {
    const { gl, splat, orbit } = this;
    const { spacing, step } = points.header;
    gl.uniformMatrix4fv(splat.at("project"), false, this.matrix(width, height, front));
    gl.uniform2fv(splat.at("lens"), orbit.lens);
    gl.uniform1f(splat.at("lift"), 8 * spacing * size);
    gl.uniform3fv(splat.at("origin"), points.origin);
    gl.uniform3fv(splat.at("step_"), step);
    const focus = Math.min(width, height) / (2 * Math.tan(orbit.fov / 2));
    // Points overlap twice and more, so fewer of them need not be larger at once; filling them is what takes time.
    const across = Math.min(2.6 * spacing, orbit.radius / 12);
    gl.uniform1f(splat.at("pixels"), across * size * Math.max(1, 0.5 * Math.sqrt(stride)) * focus);
    // A handful of points shows as dots, not as specks.
    const least = points.count < 1000 ? 4 * size : Math.min(size, 1.5);
    gl.uniform1f(splat.at("smallest"), Math.max(1, (this.size[0] / this.canvas.clientWidth) * least));
    for (const [name, buffer, parts, kind, normal, bytes] of [
      ["quantized", positions, 3, gl.UNSIGNED_SHORT, false, 8],
      ["tint", tints, 4, gl.UNSIGNED_BYTE, true, 4],
    ]) {
      const slot = gl.getAttribLocation(splat.made, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(slot);
      gl.vertexAttribPointer(slot, parts, kind, normal, bytes * stride, 0);
    }
    gl.drawArrays(gl.POINTS, 0, Math.ceil(points.count / stride));
  }
}

class NoWebGL extends Error {}
