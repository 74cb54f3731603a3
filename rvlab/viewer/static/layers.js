// Layers of the map: tiles of class ids or imagery, and boxes. `L` is Leaflet. Map units are pixels
// of the scene: x is the column, y the row, downwards.

const NEAREST_ZOOM = 4; // 16 screen pixels per scene pixel
const [COL, ROW, STOP_COL, STOP_ROW, TRUTH, GUESS, SCORE] = [0, 1, 2, 3, 4, 5, 6];
const NUMBERS = 7; // per box

// Size of the part of a tile inside the scene, in canvas pixels.
function extent({ z, x, y }, about, tile) {
  const side = tile * 2 ** -z;
  const [width, height] = [about.width - x * side, about.height - y * side];
  return [Math.min(side, width) * 2 ** z, Math.min(side, height) * 2 ** z];
}

async function inflated(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const Layer = L.GridLayer.extend({
  initialize(view, key, options) {
    this.view = view;
    this.key = key;
    this.about = view.about;
    const { width, height, levels } = this.about;
    L.GridLayer.prototype.initialize.call(this, {
      tileSize: view.spec.tile,
      bounds: [[-height, 0], [0, width]],
      minZoom: -levels - 2,
      maxZoom: NEAREST_ZOOM,
      keepBuffer: 1,
      ...options,
    });
  },
  canvas(coords) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = this.view.spec.tile;
    canvas.dataset.tile = `${-coords.z}/${coords.x}/${coords.y}`;
    return canvas;
  },
  what() {
    return { scene: this.about.scene, layer: this.key };
  },
  named(ids) {
    const names = this.view.colors.named(ids);
    return names.length === 2 ? `${names[1]}, truth ${names[0]}` : names.join();
  },
  recolor() {
    for (const { el, coords } of Object.values(this._tiles)) this.draw(el, coords);
  },
});

// Tiles from the kernel. A tile stores its class ids, so that colors change without a request.
const Tiles = Layer.extend({
  initialize(view, key, options) {
    const native = { minNativeZoom: -view.about.levels, maxNativeZoom: 0 };
    Layer.prototype.initialize.call(this, view, key, { ...native, ...options });
    this.on("tileunload", ({ tile }) => view.drop(tile.dataset.request));
  },
  createTile(coords, done) {
    const canvas = this.canvas(coords);
    const what = { ...this.what(), level: -coords.z, x: coords.x, y: coords.y };
    canvas.dataset.request = this.view.ask({ kind: "tile", ...what }, async (message, buffer) => {
      if (message.kind === "failed") {
        this.view.say(this.options.pane, message.words);
        return done(new Error(message.words), canvas);
      }
      canvas.size = [message.cols, message.rows];
      if (message.form === "ids") canvas.ids = await inflated(buffer);
      else canvas.photo = await createImageBitmap(new Blob([buffer]));
      this.draw(canvas, coords);
      done(null, canvas);
    });
    return canvas;
  },
  draw(canvas, coords) {
    if (!canvas.size) return;
    const context = canvas.getContext("2d");
    const [cols, rows] = canvas.size;
    const [width, height] = extent(coords, this.about, canvas.width);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (canvas.photo) return context.drawImage(canvas.photo, 0, 0, width, height);
    const pixels = new ImageData(cols, rows);
    const out = new Uint32Array(pixels.data.buffer);
    const { ids } = canvas;
    const planes = ids.length / out.length;
    const table = this.view.colors.table(planes);
    for (let i = 0; i < out.length; i += 1) {
      out[i] = table[planes === 1 ? ids[i] : ids[i] * 256 + ids[out.length + i]];
    }
    if (cols === width && rows === height) return context.putImageData(pixels, 0, 0);
    const exact = Object.assign(document.createElement("canvas"), { width: cols, height: rows });
    exact.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(exact, 0, 0, width, height);
  },
  // Names of the classes of a pixel.
  describe(col, row) {
    const tile = this.view.spec.tile;
    for (const { el, coords, current } of Object.values(this._tiles)) {
      const side = tile * 2 ** -coords.z;
      const [x, y] = [(col + 0.5) / side - coords.x, (row + 0.5) / side - coords.y];
      if (!current || !el.ids || x < 0 || x >= 1 || y < 0 || y >= 1) continue;
      const [width, height] = extent(coords, this.about, tile);
      const [cols, rows] = el.size;
      const i = Math.min(cols - 1, Math.floor((x * tile * cols) / width));
      const at = Math.min(rows - 1, Math.floor((y * tile * rows) / height)) * cols + i;
      const ids = [el.ids[at], el.ids[cols * rows + at]].filter((id) => id !== undefined);
      return this.named(ids);
    }
    return "";
  },
});

// Boxes and cells. The kernel sends all at once, and the page draws them, sharp at every zoom.
const Boxes = Layer.extend({
  initialize(view, key, options) {
    Layer.prototype.initialize.call(this, view, key, options);
    this.rows = new Float32Array();
    this.request = view.ask({ kind: "boxes", ...this.what() }, async (message, buffer) => {
      if (message.kind === "failed") return view.say(options.pane, message.words);
      const { buffer: bytes, byteOffset, byteLength } = buffer;
      this.rows = new Float32Array(bytes.slice(byteOffset, byteOffset + byteLength));
      this.recolor();
    });
    this.on("remove", () => view.drop(this.request));
  },
  createTile(coords) {
    const canvas = this.canvas(coords);
    this.draw(canvas, coords);
    return canvas;
  },
  draw(canvas, coords) {
    const context = canvas.getContext("2d");
    const [scale, tile, color] = [2 ** coords.z, canvas.width, this.view.colors];
    context.clearRect(0, 0, tile, tile);
    for (let i = 0; i < this.rows.length; i += NUMBERS) {
      const row = this.rows.subarray(i, i + NUMBERS);
      const [x, y] = [row[COL] * scale - coords.x * tile, row[ROW] * scale - coords.y * tile];
      const [w, h] = [(row[STOP_COL] - row[COL]) * scale, (row[STOP_ROW] - row[ROW]) * scale];
      if (x > tile + 4 || y > tile + 4 || x + w < -4 || y + h < -4) continue;
      const errors = this.key.startsWith("errors:");
      const found = errors
        ? color.error(row[TRUTH], row[GUESS])
        : color.label(Math.max(row[TRUTH], row[GUESS]));
      if (!found) continue;
      if (this.about.cells) {
        context.fillStyle = `rgb(${found.join()})`;
        context.fillRect(x, y, w, h);
      }
      context.setLineDash(errors && row[GUESS] < 0 ? [6, 4] : []);
      const line = this.about.cells ? [[1, "#fff"]] : [[4, "#0008"], [2, `rgb(${found.join()})`]];
      for (const [width, style] of line) {
        Object.assign(context, { lineWidth: width, strokeStyle: style });
        context.strokeRect(x, y, w, h);
      }
    }
  },
  describe(col, row) {
    const texts = [];
    for (let i = 0; i < this.rows.length; i += NUMBERS) {
      const one = this.rows.subarray(i, i + NUMBERS);
      if (col < one[COL] || col >= one[STOP_COL] || row < one[ROW] || row >= one[STOP_ROW]) continue;
      const score = Number.isNaN(one[SCORE]) ? "" : ` ${one[SCORE].toFixed(2)}`;
      const ids = [one[TRUTH], one[GUESS]].filter((id) => id >= 0);
      texts.push(`${this.named(ids)}${score}`);
    }
    return texts.join(", ");
  },
});
