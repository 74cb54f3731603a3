// The page's part of rvlab's viewer; Leaflet and layers.js are loaded before it. Texts from runs are
// inserted as textContent, and pixels arrive in messages of the widget.

const SIDES = ["left", "right"];

class View {
  constructor(model, el) {
    this.model = model;
    this.spec = model.get("spec");
    this.waiting = new Map(); // request id -> callback for the answer
    this.sent = [];
    this.name = Math.random().toString(36).slice(2);
    this.count = 0;
    this.at = 0.5; // position of the divider, as a fraction of the map's width
    this.window = -1; // index in spec.windows of the outlined window
    this.outcomes = this.spec.legend.errors.map((_, i) => i > 0); // all except true positives
    this.layers = {};
    this.undo = [];
    this.root = make(el, "div", "viewer");
    this.root.dataset.lmSuppressShortcuts = "true"; // arrow keys move the map, not the notebook
    if (this.spec.words) {
      make(this.root, "p", "nothing", this.spec.words);
      return;
    }
    this.controls();
    this.map = this.makeMap();
    this.on("msg:custom", (message, buffers) => this.hear(message, buffers));
    this.on("change:scene", () => this.open());
    for (const side of SIDES) this.on(`change:${side}`, () => this.show(side));
    this.on("change:opacity", () => this.clip());
    this.on("change:hidden", () => this.recolor());
    this.open();
  }

  on(event, what) {
    this.model.on(event, what);
    this.undo.push(() => this.model.off(event, what));
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  close() {
    for (const undo of this.undo) undo();
    this.map?.remove(); // removing the tiles drops their requests
  }

  // ── messages ──

  ask(message, answer) {
    const id = `${this.name}.${(this.count += 1)}`;
    this.waiting.set(id, answer);
    // Reverse the order: the kernel answers the newest request first, and Leaflet requests the middle
    // of the map first.
    if (!this.sent.length) queueMicrotask(() => {
      for (const one of this.sent.splice(0).reverse()) this.model.send(one);
    });
    this.sent.push({ ...message, id });
    this.updateBusy();
    return id;
  }

  drop(...ids) {
    const left = ids.filter((id) => this.waiting.delete(id));
    if (left.length && this.model.comm_live !== false) {
      this.model.send({ kind: "drop", ids: left });
    }
    this.updateBusy();
  }

  hear(message, buffers) {
    if (message.kind === "refused") this.say("image", message.words);
    const answer = this.waiting.get(message.id); // undefined for another view's or a dropped request
    this.waiting.delete(message.id);
    this.updateBusy();
    if (message.kind !== "refused") answer?.(message, buffers?.[0]);
  }

  updateBusy() {
    if (this.busy) this.busy.textContent = this.waiting.size ? "reading …" : "";
    this.root.dataset.waiting = this.waiting.size;
  }

  // ── controls ──

  controls() {
    const bar = make(this.root, "div", "bar");
    const names = this.spec.scenes;
    this.scenes = labelled(bar, "Scene", "select", "scene");
    for (const name of names) this.scenes.add(new Option(name, name));
    this.scenes.onchange = () => this.set("scene", this.scenes.value);
    this.selects = {};
    for (const side of SIDES) {
      const select = labelled(bar, side === "left" ? "Left" : "Right", "select", `layer-${side}`);
      select.onchange = () => this.set(side, select.value);
      this.selects[side] = select;
    }
    const whole = make(bar, "button", "whole", "Whole scene");
    whole.type = "button";
    whole.onclick = () => {
      this.window = -1;
      this.updateCaption();
      this.look();
    };
    const jumps = make(bar, "div", "jumps");
    const none = "Pass windows=lab.windows(runs) to the viewer to step through the windows.";
    for (const [step, name, text] of [[-1, "previous", "Previous"], [1, "next", "Next worst"]]) {
      const button = make(jumps, "button", name, text);
      Object.assign(button, { type: "button", disabled: true });
      button.title = this.spec.windows.length ? "" : none;
      button.onclick = () => this.jump(this.window + step);
      this[name] = button;
    }
    this.caption = make(jumps, "span", "caption");
    this.updateCaption();
    this.frame = make(this.root, "div", "frame");
    this.frame.style.height = `${this.spec.height}px`;
    const foot = make(this.root, "div", "foot");
    this.opacity = labelled(foot, "Opacity", "input", "opacity");
    Object.assign(this.opacity, { type: "range", min: 0, max: 1, step: 0.05 });
    this.opacity.oninput = () => this.set("opacity", Number(this.opacity.value));
    this.legend = make(foot, "div", "legend");
    this.busy = make(foot, "span", "busy");
  }

  fillLayers() {
    const { layers } = this.spec;
    const kinds = { truth: "Labels", run: "Predictions", errors: "Errors" };
    for (const side of SIDES) {
      const select = this.selects[side];
      select.replaceChildren(new Option("image only", ""));
      for (const [kind, label] of Object.entries(kinds)) {
        const group = make(select, "optgroup");
        group.label = label;
        for (const { key, title } of layers.filter((layer) => layer.kind === kind)) {
          const why = this.about?.unfit[key];
          const option = new Option(why ? `${title} – ${why}` : this.titled(key), key);
          option.disabled = Boolean(why);
          group.append(option);
        }
      }
      select.value = this.model.get(side);
    }
  }

  titled(key) {
    const layer = this.spec.layers.find((one) => one.key === key);
    return layer ? (layer.kind === "errors" ? `errors of ${layer.title}` : layer.title) : "image";
  }

  fillLegend() {
    const focused = this.legend.querySelector("input:focus")?.value;
    this.legend.replaceChildren();
    const hidden = this.model.get("hidden");
    for (const { name, color } of this.about.classes) {
      swatch(this.legend, name, color, !hidden.includes(name), (on) => {
        const rest = this.model.get("hidden").filter((one) => one !== name);
        this.set("hidden", on ? rest : [...rest, name]);
      });
    }
    const errors = SIDES.some((side) => this.model.get(side).startsWith("errors:"));
    if (errors) make(this.legend, "span", "gap", "Errors:");
    (errors ? this.spec.legend.errors : []).forEach(({ name, color }, i) => {
      swatch(this.legend, name, color, this.outcomes[i], (on) => {
        this.outcomes[i] = on;
        this.recolor();
      });
    });
    [...this.legend.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
  }

  // ── the map ──

  makeMap() {
    const node = make(this.frame, "div", "map");
    const map = L.map(node, {
      crs: L.CRS.Simple,
      attributionControl: false,
      fadeAnimation: false,
      scrollWheelZoom: false,
      minZoom: -12,
      maxZoom: NEAREST_ZOOM,
    });
    map.setView([0, 0], 0);
    for (const name of ["image", ...SIDES, "outline"]) map.createPane(name);
    map.getPane("outline").style.zIndex = 450;
    this.halves = {};
    for (const side of SIDES) {
      const half = make(this.frame, "div", `half rvlab-half-${side}`);
      this.halves[side] = { half, tag: make(half, "span", "tag"), said: make(half, "p", "said") };
    }
    this.halves.image = { said: make(this.frame, "p", "said rvlab-said-image") };
    this.scale = make(this.frame, "div", "scale");
    this.cursor = make(this.frame, "div", "cursor");
    this.divider = makeDivider(this.frame, (part) => {
      this.at = Math.min(1, Math.max(0, part ?? this.at));
      this.clip();
      return this.at;
    });
    map.on("move zoom zoomend resize", () => this.clip());
    map.on("mousemove", ({ latlng }) => this.updateCursor(latlng));
    map.on("mouseout", () => (this.cursor.textContent = ""));
    // The wheel scrolls the notebook until the map is clicked.
    map.on("focus", () => map.scrollWheelZoom.enable());
    map.on("blur", () => map.scrollWheelZoom.disable());
    const sized = new ResizeObserver(() => {
      map.invalidateSize({ pan: false });
      if (!this.moved) this.look();
    });
    sized.observe(node);
    for (const event of ["pointerdown", "keydown", "wheel"]) {
      node.addEventListener(event, () => (this.moved = true), { passive: true });
    }
    this.undo.push(() => sized.disconnect());
    return map;
  }

  // Clip each side's pane at the divider. The pane moves with the map, the clip path does not.
  clip() {
    const size = this.map.getSize();
    const middle = Math.round(size.x * this.at);
    const start = this.map.containerPointToLayerPoint([0, 0]);
    for (const [side, from, to] of [["left", 0, middle], ["right", middle, size.x]]) {
      const [x0, x1] = [start.x + from, start.x + to];
      const [y0, y1] = [start.y, start.y + size.y];
      const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
      const pane = this.map.getPane(side);
      pane.style.clipPath = `polygon(${corners.map(([x, y]) => `${x}px ${y}px`).join()})`;
      pane.style.opacity = this.model.get("opacity");
      this.halves[side].half.style.cssText = `left: ${from}px; width: ${to - from}px`;
    }
    this.opacity.value = this.model.get("opacity");
    this.divider.style.left = `${middle}px`;
    this.divider.setAttribute("aria-valuenow", Math.round(100 * this.at));
    this.root.dataset.zoom = this.map.getZoom();
    this.updateScale();
  }

  open() {
    const scene = this.model.get("scene");
    this.scenes.value = scene;
    this.about = null;
    this.drop(...this.waiting.keys());
    for (const key of ["image", ...SIDES]) this.remove(key);
    this.ask({ kind: "scene", scene }, ({ about, words }) => {
      if (words) return this.say("image", words);
      this.about = about;
      this.map.options.minZoom = -about.levels - 2; // setMinZoom() would also move the map
      this.look();
      this.layers.image = new Tiles(this, "image", { pane: "image" }).addTo(this.map);
      for (const side of SIDES) this.show(side);
    });
  }

  remove(key) {
    this.layers[key]?.remove();
    delete this.layers[key];
    this.say(key, "");
  }

  show(side) {
    if (!this.about) return;
    this.remove(side);
    const key = this.model.get(side);
    this.fillLayers();
    this.recolor();
    this.halves[side].tag.textContent = this.titled(key);
    const why = this.about.unfit[key];
    if (why) this.say(side, why);
    else if (key) {
      const kind = this.about.boxes ? Boxes : Tiles;
      this.layers[side] = new kind(this, key, { pane: side }).addTo(this.map);
    }
    this.clip();
  }

  // Show the whole scene, or the selected window.
  look() {
    this.moved = false; // until the user moves the map, the view follows the page's size
    const size = this.map.getSize();
    if (!size.x || !size.y || !this.about) return;
    const one = this.spec.windows[this.window];
    this.outline?.remove();
    const { width, height } = this.about;
    if (one?.scene !== this.about.scene) {
      return this.map.fitBounds([[-height, 0], [0, width]], { animate: false });
    }
    const corners = [[-one.row - one.height, one.col], [-one.row, one.col + one.width]];
    const style = { color: "#fff", weight: 2, fill: false, interactive: false };
    const dark = L.rectangle(corners, { ...style, color: "#000", weight: 4, pane: "outline" });
    const light = L.rectangle(corners, { ...style, pane: "outline", className: "rvlab-window" });
    this.outline = L.layerGroup([dark, light]).addTo(this.map);
    this.map.fitBounds(corners, { animate: false, padding: [24, 24], maxZoom: NEAREST_ZOOM - 1 });
  }

  jump(number) {
    const one = this.spec.windows[number];
    if (!one) return;
    this.window = number;
    this.updateCaption();
    if (one.scene === this.model.get("scene")) this.look();
    else this.set("scene", one.scene); // `open` calls `look`
  }

  // ── texts ──

  say(pane, words) {
    this.halves[pane].said.textContent = words;
  }

  updateCaption() {
    const { windows } = this.spec;
    const one = windows[this.window];
    this.previous.disabled = this.window <= 0;
    this.next.disabled = this.window + 1 >= windows.length;
    const texts = one ? [`${this.window + 1} of ${windows.length}`, one.words].filter(Boolean) : [];
    this.caption.textContent = texts.join(" · ");
  }

  updateScale() {
    const { long, words } = ruler(2 ** this.map.getZoom(), this.about?.metres);
    this.scale.style.width = `${long}px`;
    this.scale.textContent = words;
  }

  updateCursor({ lat, lng }) {
    const parts = this.about ? where(this.about, lng, -lat) : [];
    for (const side of parts.length ? SIDES : []) {
      const text = this.layers[side]?.describe(Math.floor(lng), Math.floor(-lat));
      if (text) parts.push(`${this.titled(this.model.get(side))}: ${text}`);
    }
    this.cursor.textContent = parts.join(" · ");
  }

  recolor() {
    if (!this.about) return;
    const { legend } = this.spec;
    this.colors = new Colors(this.about, legend, this.model.get("hidden"), this.outcomes);
    this.fillLegend();
    for (const side of SIDES) this.layers[side]?.recolor();
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
