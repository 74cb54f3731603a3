// Elements of the page. Text is set as textContent, never as HTML.

function make(parent, tag, name, text = "") {
  const node = document.createElement(tag);
  if (name) node.className = `rvlab-${name}`;
  node.textContent = text;
  parent.append(node);
  return node;
}

function labelled(parent, text, tag, name) {
  const label = make(parent, "label", "field");
  make(label, "span", "", text);
  return make(label, tag, name);
}

function swatch(parent, name, color, on, changed) {
  const label = make(parent, "label", "swatch");
  const box = make(label, "input");
  Object.assign(box, { type: "checkbox", checked: on, value: name });
  box.onchange = () => changed(box.checked);
  make(label, "i").style.background = `rgb(${color.join()})`;
  make(label, "span", "", name);
}

// `moved` receives the position as a fraction of the frame's width, from 0 to 1, and returns the
// divider's position; without an argument it only returns it.
function makeDivider(frame, moved) {
  const divider = make(frame, "div", "divider");
  const states = { role: "slider", tabindex: 0, "aria-label": "divider between left and right" };
  for (const [name, value] of Object.entries(states)) divider.setAttribute(name, value);
  divider.onpointerdown = (event) => divider.setPointerCapture(event.pointerId);
  divider.onpointermove = (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = frame.getBoundingClientRect();
    moved((event.clientX - box.left) / box.width);
  };
  divider.onkeydown = (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step) moved(moved() + step);
  };
  return divider;
}
