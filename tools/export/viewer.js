"use strict";
// Splats with their answers to light: decode, sort, draw with WebGL 2, orbit, and a lamp on a small ball.
(function () {
  const view = document.getElementById("view"), ball = document.getElementById("ball");
  const bytesOf = id => Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  function say(text) {
    const message = document.getElementById("message");
    message.textContent = text;
    message.hidden = false;
    view.hidden = true;
    document.getElementById("panel").hidden = true;
    document.body.dataset.state = "failed";
  }
  const gl = view.getContext("webgl2", { antialias: false, premultipliedAlpha: true, preserveDrawingBuffer: true });
  if (!gl) {
    say("This page needs WebGL 2: turn on hardware acceleration in the browser's settings, or open it in another browser.");
    return;
  }

  // The numbers of the page.
  const facts = JSON.parse(new TextDecoder().decode(bytesOf("facts")));
  const data = bytesOf("data"), count = facts.count, lights = facts.lights, TERMS = 4;
  let at = 0;
  function take(type, length) {
    const size = length * type.BYTES_PER_ELEMENT, part = new type(data.slice(at, at + size).buffer);
    at += size;
    return part;
  }
  const place = take(Uint16Array, 3 * count), scale = take(Uint8Array, 3 * count), turn = take(Uint8Array, 4 * count);
  const opacity = take(Uint8Array, count), gain = take(Uint8Array, 3 * count);
  const largest = take(Float32Array, 2 * count), answer = take(Int8Array, TERMS * lights * count);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const unit = v => { const n = Math.hypot(v[0], v[1], v[2]); return [v[0] / n, v[1] / n, v[2] / n]; };
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  const WIDTH = 1024, rows = Math.ceil(count * 3 / WIDTH);
  const still = new Float32Array(4 * WIDTH * rows), colors = new Float32Array(4 * WIDTH * rows);
  const centers = new Float32Array(3 * count), gains = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let a = 0; a < 3; a++) {
      centers[3 * i + a] = facts.low[a] + (facts.high[a] - facts.low[a]) * place[3 * i + a] / 65535;
      gains[3 * i + a] = facts.gain[a] * Math.pow(gain[3 * i + a] / 255, 2);
    }
    let q = [0, 1, 2, 3].map(k => turn[4 * i + k] / 127.5 - 1);
    const n = Math.hypot(q[0], q[1], q[2], q[3]);
    const [w, x, y, z] = q.map(v => v / n);
    const R = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), 2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
               2 * (y * z - w * x), 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)];
    const s = [0, 1, 2].map(a => Math.exp(2 * (facts.scale[0] + (facts.scale[1] - facts.scale[0]) * scale[3 * i + a] / 255)));
    const C = (r, c) => s[0] * R[3 * r] * R[3 * c] + s[1] * R[3 * r + 1] * R[3 * c + 1] + s[2] * R[3 * r + 2] * R[3 * c + 2];
    still.set([centers[3 * i], centers[3 * i + 1], centers[3 * i + 2], opacity[i] / 255,
               C(0, 0), C(0, 1), C(0, 2), C(1, 1), C(1, 2), C(2, 2), 0, 0], 12 * i);
  }

  // Light: the exported one, or a lamp between three directions of the light field and light from everywhere.
  const even = new Float32Array(TERMS * count);
  for (let i = 0; i < TERMS * count; i++) {
    let sum = 0;
    for (let l = 0; l < lights; l++) sum += answer[i * lights + l];
    even[i] = sum;
  }
  const power = [0, 1, 2].map(c => facts.light.reduce((sum, row) => sum + row[c], 0));
  const triangles = facts.triangles.map(corners => {
    const [a, b, c] = corners.map(k => facts.directions[k]), volume = dot(a, cross(b, c));
    return { corners, planes: [cross(b, c), cross(c, a), cross(a, b)].map(p => p.map(v => v / volume)) };
  });
  function shares(direction) {
    let best = null, lowest = -Infinity;
    for (const triangle of triangles) {
      const inside = triangle.planes.map(plane => dot(plane, direction)), low = Math.min(...inside);
      if (low > lowest) { lowest = low; best = { corners: triangle.corners, weights: inside.map(v => Math.max(v, 0)) }; }
    }
    const total = best.weights[0] + best.weights[1] + best.weights[2];
    return best.corners.map((corner, k) => [corner, best.weights[k] / total]);
  }
  const state = { azimuth: 0, elevation: 0.06, distance: facts.distance, lamp: null };
  function light() {
    // [direction, red, green, blue] of every direction that shines, and what shines from everywhere.
    if (!state.lamp) return { spots: facts.light.map((row, l) => [l, row[0], row[1], row[2]]), around: [0, 0, 0] };
    const lamp = Number(document.getElementById("lamp").value), around = Number(document.getElementById("around").value);
    const hex = document.getElementById("color").value;
    const tint = [1, 3, 5].map(k => Math.pow(parseInt(hex.slice(k, k + 2), 16) / 255, 2.2));
    const spots = shares(state.lamp).map(([l, share]) => [l].concat(power.map((p, c) => p * lamp * share * tint[c])));
    return { spots, around: power.map((p, c) => p * around * tint[c] / lights) };
  }
  function relight() {
    const { spots, around } = light();
    for (let i = 0; i < count; i++) {
      for (let k = 0; k < TERMS; k++) {
        const base = (TERMS * i + k) * lights, unitOf = largest[2 * i + (k ? 1 : 0)] / 127;
        let r = around[0] * even[TERMS * i + k], g = around[1] * even[TERMS * i + k], b = around[2] * even[TERMS * i + k];
        for (const spot of spots) {
          const value = answer[base + spot[0]];
          r += spot[1] * value; g += spot[2] * value; b += spot[3] * value;
        }
        colors[12 * i + k] = r * unitOf * gains[3 * i];
        colors[12 * i + 4 + k] = g * unitOf * gains[3 * i + 1];
        colors[12 * i + 8 + k] = b * unitOf * gains[3 * i + 2];
      }
    }
    upload(colorTexture, colors);
  }

  // Drawing.
  const VERTEX = [
    "#version 300 es", "precision highp float;", "precision highp sampler2D;",
    "uniform sampler2D still, colors; uniform mat3 turn; uniform vec3 eye; uniform vec2 focal, size;",
    "in vec2 corner; in uint splat; out vec2 offset; flat out vec3 conic; flat out vec4 shade;",
    "vec4 texel(sampler2D from, int number) { int n = int(splat) * 3 + number; return texelFetch(from, ivec2(n % 1024, n / 1024), 0); }",
    "void main() {",
    "  vec4 a = texel(still, 0), b = texel(still, 1), c = texel(still, 2);",
    "  vec3 p = turn * (a.xyz - eye);",
    "  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);",
    "  if (p.z < 0.02) return;",
    "  mat3 C = mat3(b.x, b.y, b.z, b.y, b.w, c.x, b.z, c.x, c.y);",
    "  vec3 jx = vec3(focal.x / p.z, 0.0, -focal.x * p.x / (p.z * p.z)), jy = vec3(0.0, focal.y / p.z, -focal.y * p.y / (p.z * p.z));",
    "  vec3 tx = jx * turn, ty = jy * turn;",
    "  float xx = dot(tx, C * tx) + 0.3, xy = dot(tx, C * ty), yy = dot(ty, C * ty) + 0.3, area = xx * yy - xy * xy;",
    "  float sigmas = sqrt(2.0 * log(max(a.w * 255.0, 1.0)));",
    "  vec2 reach = sigmas * sqrt(vec2(xx, yy));",
    "  offset = corner * reach;",
    "  conic = vec3(yy, -2.0 * xy, xx) * (-0.5 / area);",
    "  vec3 d = normalize(a.xyz - eye);",
    "  vec4 terms = vec4(0.2820948, -0.4886025 * d.y, 0.4886025 * d.z, -0.4886025 * d.x);",
    "  vec3 radiance = vec3(dot(texel(colors, 0), terms), dot(texel(colors, 1), terms), dot(texel(colors, 2), terms));",
    "  shade = vec4(pow(clamp(radiance, 0.0, 1.0), vec3(1.0 / 2.2)), a.w);",
    "  vec2 center = vec2(focal.x * p.x, focal.y * p.y) / p.z;",
    "  gl_Position = vec4((center + offset) * 2.0 / size * vec2(1.0, -1.0), 0.0, 1.0);",
    "}"].join("\n");
  const FRAGMENT = [
    "#version 300 es", "precision highp float;",
    "in vec2 offset; flat in vec3 conic; flat in vec4 shade; out vec4 color;",
    "void main() {",
    "  float alpha = min(shade.a * exp(conic.x * offset.x * offset.x + conic.y * offset.x * offset.y + conic.z * offset.y * offset.y), 0.99);",
    "  if (alpha < 1.0 / 255.0) discard;",
    "  color = vec4(shade.rgb * alpha, alpha);",
    "}"].join("\n");
  function shader(type, text) {
    const made = gl.createShader(type);
    gl.shaderSource(made, text);
    gl.compileShader(made);
    if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
    return made;
  }
  let program, stillTexture, colorTexture, order, uniform;
  function texture(number) {
    const made = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + number);
    gl.bindTexture(gl.TEXTURE_2D, made);
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.NEAREST], [gl.TEXTURE_MAG_FILTER, gl.NEAREST],
                                 [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]])
      gl.texParameteri(gl.TEXTURE_2D, name, value);
    return number;
  }
  function upload(number, values) {
    gl.activeTexture(gl.TEXTURE0 + number);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, WIDTH, rows, 0, gl.RGBA, gl.FLOAT, values);
  }
  function start() {
    program = gl.createProgram();
    gl.attachShader(program, shader(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, shader(gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    uniform = name => gl.getUniformLocation(program, name);
    const corner = gl.getAttribLocation(program, "corner"), splat = gl.getAttribLocation(program, "splat");
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    order = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, order);
    gl.enableVertexAttribArray(splat);
    gl.vertexAttribIPointer(splat, 1, gl.UNSIGNED_INT, 0, 0);
    gl.vertexAttribDivisor(splat, 1);
    stillTexture = texture(0);
    colorTexture = texture(1);
    upload(stillTexture, still);
    gl.uniform1i(uniform("still"), 0);
    gl.uniform1i(uniform("colors"), 1);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(0, 0, 0, 0);
    relight();
  }

  function camera() {
    const a = state.azimuth, e = state.elevation;
    const toward = [Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)];
    const forward = toward.map(v => -v), right = unit(cross(forward, [0, 1, 0])), down = cross(forward, right);
    return { eye: toward.map(v => v * state.distance), right, down, forward };
  }
  const sorted = new Uint32Array(count), depth = new Float32Array(count), bucket = new Uint16Array(count);
  const starts = new Uint32Array(65537);
  function sort(from) {
    let near = Infinity, far = -Infinity;
    for (let i = 0; i < count; i++) {
      const d = centers[3 * i] * from.forward[0] + centers[3 * i + 1] * from.forward[1] + centers[3 * i + 2] * from.forward[2];
      depth[i] = d;
      if (d < near) near = d;
      if (d > far) far = d;
    }
    const factor = 65535 / Math.max(far - near, 1e-9);
    starts.fill(0);
    for (let i = 0; i < count; i++) {
      bucket[i] = (far - depth[i]) * factor;
      starts[bucket[i] + 1]++;
    }
    for (let k = 0; k < 65536; k++) starts[k + 1] += starts[k];
    for (let i = 0; i < count; i++) sorted[starts[bucket[i]]++] = i;
  }
  let pending = false, lightChanged = false;
  function redraw(newLight) {
    lightChanged = lightChanged || Boolean(newLight);
    if (!pending) { pending = true; requestAnimationFrame(draw); }
  }
  function draw() {
    pending = false;
    if (gl.isContextLost()) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(view.clientWidth * ratio)), height = Math.max(1, Math.round(view.clientHeight * ratio));
    if (view.width !== width || view.height !== height) { view.width = width; view.height = height; }
    if (lightChanged) { relight(); lightChanged = false; }
    const from = camera();
    sort(from);
    gl.bindBuffer(gl.ARRAY_BUFFER, order);
    gl.bufferData(gl.ARRAY_BUFFER, sorted, gl.DYNAMIC_DRAW);
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const r = facts.radius, focal = 0.5 * Math.min(width, height) * Math.sqrt(Math.max(facts.distance * facts.distance - r * r, r * r)) / r;
    gl.uniformMatrix3fv(uniform("turn"), false, [0, 1, 2].flatMap(c => [from.right[c], from.down[c], from.forward[c]]));
    gl.uniform3fv(uniform("eye"), from.eye);
    gl.uniform2f(uniform("focal"), focal, focal);
    gl.uniform2f(uniform("size"), width, height);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
    drawBall(from);
    document.body.dataset.state = "ready";
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
  }

  // The ball: what a matt sphere looks like under the lamp, from here. Beyond its edge the lamp is behind the head.
  const brush = ball.getContext("2d"), RADIUS = 62, SIDE = ball.width;
  function drawBall(from) {
    const lamp = state.lamp && [dot(state.lamp, from.right), dot(state.lamp, from.down), -dot(state.lamp, from.forward)];
    const picture = brush.createImageData(SIDE, SIDE);
    for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) {
      const u = (x + 0.5 - SIDE / 2) / RADIUS, v = (y + 0.5 - SIDE / 2) / RADIUS, r = Math.hypot(u, v);
      const shade = lamp ? 0.12 + 0.88 * Math.max(u * lamp[0] + v * lamp[1] + Math.sqrt(Math.max(1 - r * r, 0)) * lamp[2], 0) : 0.55;
      const grey = 255 * Math.pow(shade, 1 / 2.2), n = 4 * (y * SIDE + x);
      picture.data[n] = picture.data[n + 1] = picture.data[n + 2] = grey;
      picture.data[n + 3] = 255 * clamp((1 - r) * RADIUS + 0.5, 0, 1);
    }
    brush.putImageData(picture, 0, 0);
    if (!lamp) return;
    const angle = Math.acos(clamp(lamp[2], -1, 1)) / (Math.PI / 2), flat = Math.hypot(lamp[0], lamp[1]) || 1;
    const reach = RADIUS * (angle <= 1 ? Math.sin(angle * Math.PI / 2) : Math.min(1 + (angle - 1) * 0.4, 1.34));
    brush.beginPath();
    brush.arc(SIDE / 2 + lamp[0] / flat * reach, SIDE / 2 + lamp[1] / flat * reach, 7, 0, 2 * Math.PI);
    brush.fillStyle = "#ffc247";
    brush.fill();
    brush.lineWidth = 2;
    brush.strokeStyle = "#3a2a00";
    brush.stroke();
  }
  function pick(event) {
    const box = ball.getBoundingClientRect(), unitOf = SIDE / box.width / RADIUS;
    const u = (event.clientX - box.left - box.width / 2) * unitOf, v = (event.clientY - box.top - box.height / 2) * unitOf;
    const r = Math.hypot(u, v), angle = r <= 1 ? Math.asin(r) : Math.PI / 2 * Math.min(1 + (r - 1) / 0.4, 1.9);
    shine(r ? u / r * Math.sin(angle) : 0, r ? v / r * Math.sin(angle) : 0, Math.cos(angle));
  }
  function shine(x, y, z) {
    // From the camera's axes (right, down, towards the viewer) to the head's.
    const from = camera();
    state.lamp = unit([0, 1, 2].map(a => x * from.right[a] + y * from.down[a] - z * from.forward[a]));
    const degrees = value => Math.round(value * 180 / Math.PI);
    ball.setAttribute("aria-valuetext", degrees(Math.atan2(state.lamp[0], state.lamp[2])) + "° to the side, " +
                      degrees(Math.asin(clamp(state.lamp[1], -1, 1))) + "° up");
    redraw(true);
  }

  // Hands: one pointer turns, two pinch.
  function orbit(x, y) {
    state.azimuth -= x;
    state.elevation = clamp(state.elevation + y, -1.4, 1.4);
    redraw();
  }
  function zoom(factor) {
    state.distance = clamp(state.distance * factor, 2 * facts.radius, 6 * facts.distance);
    redraw();
  }
  const pointers = new Map();
  const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  view.addEventListener("pointerdown", event => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", event => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const before = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (pointers.size === 2) zoom(before / Math.max(spread(), 1));
    else orbit((event.clientX - last[0]) * 0.008, (event.clientY - last[1]) * 0.008);
  });
  for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, event => pointers.delete(event.pointerId));
  view.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(clamp(event.deltaY, -200, 200) * 0.001)); }, { passive: false });
  view.addEventListener("keydown", event => {
    const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (step) orbit(step[0], step[1]);
    else if (event.key === "+" || event.key === "=") zoom(0.9);
    else if (event.key === "-") zoom(1 / 0.9);
    else return;
    event.preventDefault();
  });
  ball.addEventListener("pointerdown", event => { ball.setPointerCapture(event.pointerId); pick(event); });
  ball.addEventListener("pointermove", event => { if (event.buttons) pick(event); });
  ball.addEventListener("keydown", event => {
    const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
    if (!step) return;
    const from = camera(), lamp = state.lamp || from.forward.map(v => -v);
    shine(dot(lamp, from.right) + step[0], dot(lamp, from.down) + step[1], -dot(lamp, from.forward));
    event.preventDefault();
  });
  for (const id of ["lamp", "around", "color"]) document.getElementById(id).addEventListener("input", () => {
    if (!state.lamp) shine(0, 0, 1);
    else redraw(true);
  });
  document.getElementById("baked").addEventListener("click", () => {
    state.lamp = null;
    ball.setAttribute("aria-valuetext", "exported light");
    redraw(true);
  });
  document.getElementById("panel").addEventListener("submit", event => event.preventDefault());
  window.addEventListener("resize", () => redraw());
  view.addEventListener("webglcontextlost", event => event.preventDefault());
  view.addEventListener("webglcontextrestored", () => { start(); redraw(); });
  start();
  redraw();
})();
