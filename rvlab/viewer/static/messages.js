// Colors and texts for a scene's values.

const LONGEST_RULER = 120;

// Colors of class ids; null is transparent. Errors are classified as in
// rvlab.plot._grid.colorize.color_errors.
class Colors {
  constructor({ classes, unlabelled, null: nullId }, { errors, other, outside }, hidden, outcomes) {
    Object.assign(this, { classes, unlabelled, errors, other, outside, outcomes });
    this.on = classes.map(({ name }) => !hidden.includes(name));
    this.isOfInterest = this.on.map((yes, id) => yes && id !== unlabelled && id !== nullId);
    this.tables = {};
  }

  label(id) {
    if (id === this.outside && id >= this.classes.length) return null;
    if (id >= this.classes.length) return this.other;
    return this.on[id] ? this.classes[id].color : null;
  }

  error(truth, guess) {
    if (truth >= this.classes.length || truth === this.unlabelled) return null;
    const [labelled, predicted] = [this.isOfInterest[truth], this.isOfInterest[guess]];
    if (!labelled && !predicted) return null;
    const outcome = !labelled ? 1 : !predicted ? 2 : truth === guess ? 0 : 3;
    return this.outcomes[outcome] ? this.errors[outcome].color : null;
  }

  // RGBA of each id, or of each `truth * 256 + prediction`, as a 32-bit number.
  table(planes) {
    this.tables[planes] ??= Uint32Array.from({ length: 256 ** planes }, (_, code) => {
      const found = planes === 1 ? this.label(code) : this.error(code >> 8, code & 255);
      return found ? ((255 << 24) | (found[2] << 16) | (found[1] << 8) | found[0]) >>> 0 : 0;
    });
    return this.tables[planes];
  }

  named(ids) {
    return ids.map((id) => this.classes[id]?.name ?? "no label");
  }
}

// Length and text of the scale bar: the longest round number of metres, or pixels, that fits. `zoom`
// is the number of screen pixels per scene pixel.
function ruler(zoom, metres) {
  const most = (LONGEST_RULER / zoom) * (metres ?? 1);
  const ten = 10 ** Math.floor(Math.log10(most));
  const value = [5, 2, 1].find((n) => n * ten <= most) * ten;
  const [number, unit] = !metres ? [value, "px"] : value < 1000 ? [value, "m"] : [value / 1e3, "km"];
  return { long: (value / (metres ?? 1)) * zoom, words: `${Number(number.toPrecision(1))} ${unit}` };
}

// Texts of a point's pixel and, if known, map coordinates; empty outside the scene.
function where({ width, height, transform, crs }, x, y) {
  if (x < 0 || y < 0 || x >= width || y >= height) return [];
  const parts = [`col ${Math.floor(x)}, row ${Math.floor(y)}`];
  if (transform) {
    const [a, b, c, d, e, f] = transform;
    const digits = Math.abs(a) < 0.01 ? 6 : 1;
    const ground = [a * x + b * y + c, d * x + e * y + f].map((value) => value.toFixed(digits));
    parts.push(`${ground.join(", ")} ${crs ? `(${crs})` : ""}`);
  }
  return parts;
}
