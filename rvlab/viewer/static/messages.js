// What is told of a scene in colors and in words.

const LONGEST_RULER = 120;

// Colors of class ids; null is nothing. Errors are told apart as rvlab.plot._grid.colorize.color_errors does.
class Colors {
  constructor({ classes, unlabelled, null: nobody }, { errors, other }, hidden, outcomes) {
    Object.assign(this, { classes, unlabelled, errors, other, outcomes });
    this.on = classes.map(({ name }) => !hidden.includes(name));
    this.wanted = this.on.map((yes, id) => yes && id !== unlabelled && id !== nobody);
    this.tables = {};
  }

  label(id) {
    if (id >= this.classes.length) return this.other;
    return this.on[id] ? this.classes[id].color : null;
  }

  error(truth, guess) {
    if (truth >= this.classes.length || truth === this.unlabelled) return null;
    const [there, said] = [this.wanted[truth], this.wanted[guess]];
    if (!there && !said) return null;
    const outcome = !there ? 1 : !said ? 2 : truth === guess ? 0 : 3;
    return this.outcomes[outcome] ? this.errors[outcome].color : null;
  }

  // The four bytes of each id, or of each `truth * 256 + prediction`, as one number.
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

// The longest round number of metres, or of pixels, that fits: of a map with `zoom` screen pixels
// for one of the scene.
function ruler(zoom, metres) {
  const most = (LONGEST_RULER / zoom) * (metres ?? 1);
  const ten = 10 ** Math.floor(Math.log10(most));
  const value = [5, 2, 1].find((n) => n * ten <= most) * ten;
  const [number, unit] = !metres ? [value, "px"] : value < 1000 ? [value, "m"] : [value / 1e3, "km"];
  return { long: (value / (metres ?? 1)) * zoom, words: `${Number(number.toPrecision(1))} ${unit}` };
}

// A point of the scene in pixels, and on the ground if that is known; nothing outside.
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
