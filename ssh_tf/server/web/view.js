// Which part of the picture is shown: zoom by wheel, keys, buttons, two fingers or a double click.

const MAX_ZOOM = 16;
const LEGIBLE_PX = 960;   // Smaller pictures are enlarged until they are so long.

class View {
  // canvas: What is drawn on, of the size that its place has room for.
  // frame: A canvas with the picture.
  // changed: Called after each change.
  constructor(canvas, frame, changed) {
    Object.assign(this, {canvas, frame, changed, zoom: 1, left: 0, top: 0, fit: 1});
    this.dragged = 0;   // Px since the last pointer went down.
    this.fingers = new Map();
    this.listen();
  }

  // Gives the canvas its size: all of the picture at zoom 1.
  resize() {
    const {canvas, frame} = this;
    const room = canvas.parentElement.clientWidth / frame.width;
    const high = 0.76 * window.innerHeight / frame.height;
    this.fit = Math.min(room, high, Math.max(1, LEGIBLE_PX / Math.max(frame.width, frame.height)));
    const ratio = window.devicePixelRatio || 1;
    for (const [side, value] of [["width", frame.width], ["height", frame.height]]) {
      canvas.style[side] = `${value * this.fit}px`;
      canvas[side] = Math.max(1, Math.round(value * this.fit * ratio));
    }
    this.clamp();
  }

  reset() {
    this.zoom = 1;
    this.clamp();
  }

  // Px of the page for one of the picture.
  get scale() { return this.fit * this.zoom; }

  // As `paint` takes it.
  get drawn() {
    const unit = this.canvas.width / (this.frame.width * this.fit);
    return {left: this.left, top: this.top, scale: this.scale * unit, unit};
  }

  clamp() {
    const {frame, zoom} = this;
    this.left = Math.min(Math.max(this.left, 0), frame.width * (1 - 1 / zoom));
    this.top = Math.min(Math.max(this.top, 0), frame.height * (1 - 1 / zoom));
    this.canvas.classList.toggle("zoomed", zoom > 1);
  }

  // x, y: Px of the page from the canvas' corner; what is there stays there.
  zoomBy(factor, [x, y] = this.middle) {
    const before = this.scale;
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), MAX_ZOOM);
    this.left += x / before - x / this.scale;
    this.top += y / before - y / this.scale;
    this.clamp();
    this.changed();
  }

  moveBy(x, y) {
    this.left -= x / this.scale;
    this.top -= y / this.scale;
    this.clamp();
    this.changed();
  }

  // Shows a box, `x1, y1, x2, y2`, with as much around it on each side.
  show([x1, y1, x2, y2]) {
    const {frame} = this;
    const part = Math.max((x2 - x1) / frame.width, (y2 - y1) / frame.height, 1e-3);
    this.zoom = Math.min(Math.max(1 / (3 * part), 1), MAX_ZOOM);
    this.left = (x1 + x2) / 2 - frame.width / (2 * this.zoom);
    this.top = (y1 + y2) / 2 - frame.height / (2 * this.zoom);
    this.clamp();
    this.changed();
  }

  get middle() { return [this.frame.width * this.fit / 2, this.frame.height * this.fit / 2]; }

  at(event) {
    const {left, top} = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  // Where in the picture an event is, px.
  inPicture(event) {
    const [x, y] = this.at(event);
    return [this.left + x / this.scale, this.top + y / this.scale];
  }

  listen() {
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointerdown", (event) => {
      this.fingers.set(event.pointerId, this.at(event));
      this.dragged = 0;
    });
    on("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
      on(name, (event) => this.fingers.delete(event.pointerId));
    }
    // One finger scrolls the page until the picture is zoomed.
    on("touchmove", (event) => {
      if (event.touches.length > 1 || this.zoom > 1) event.preventDefault();
    }, {passive: false});
    // Touchpads send a pinch as a wheel with Ctrl.
    on("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 200), this.at(event));
    }, {passive: false});
    on("dblclick", (event) => this.zoomBy(this.zoom > 1 ? 1 / MAX_ZOOM : 3, this.at(event)));
    on("keydown", (event) => this.press(event));
  }

  drag(event) {
    if (!this.fingers.has(event.pointerId)) return;
    const before = [...this.fingers.values()];
    this.fingers.set(event.pointerId, this.at(event));
    const after = [...this.fingers.values()];
    const [from, to] = [center(before), center(after)];
    this.dragged += spread([from, to]);
    if (after.length > 1) this.zoomBy(spread(after) / (spread(before) || 1), from);
    if (after.length > 1 || this.zoom > 1) this.moveBy(to[0] - from[0], to[1] - from[1]);
  }

  press(event) {
    const step = 40;
    const moves = {
      ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step],
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.zoomBy(1 / MAX_ZOOM);
    else if (event.key in moves && this.zoom > 1) this.moveBy(...moves[event.key]);
    else return;
    event.preventDefault();
  }
}

function center(points) {
  return [0, 1].map((i) => points.reduce((sum, point) => sum + point[i], 0) / points.length);
}

function spread([[x1, y1], [x2, y2]]) {
  return Math.hypot(x2 - x1, y2 - y1);
}
