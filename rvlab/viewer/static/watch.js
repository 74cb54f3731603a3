// Shows the sections that the kernel renders, and sends the clicks on their buttons.
// The kernel escapes every text; this script replaces a section only when it has changed.
export default {
  render({ model, el }) {
    const root = document.createElement("div");
    root.className = "rvlab-watch";
    el.append(root);
    const shown = new Map();

    function update() {
      const sections = model.get("sections");
      const keys = sections.map(([key]) => key);
      for (const [key, node] of [...shown]) {
        if (!keys.includes(key)) {
          node.remove();
          shown.delete(key);
        }
      }
      sections.forEach(([key, html], index) => {
        let node = shown.get(key);
        if (!node) {
          node = document.createElement("div");
          shown.set(key, node);
        }
        if (node.dataset.html !== html) {
          const before = node.querySelector("pre");
          const atEnd = !before || before.scrollHeight - before.scrollTop - before.clientHeight < 8;
          const top = before ? before.scrollTop : 0;
          node.innerHTML = html;
          node.dataset.html = html;
          const after = node.querySelector("pre");
          if (after) after.scrollTop = atEnd ? after.scrollHeight : top;
        }
        if (root.children[index] !== node) root.insertBefore(node, root.children[index] || null);
      });
    }

    function click(event) {
      const button = event.target.closest("button[data-do]");
      if (!button || !root.contains(button)) return;
      model.send({ kind: button.dataset.do, run: button.dataset.run || null });
      if (button.dataset.do.startsWith("cancel")) {
        button.disabled = true;
        button.textContent = "cancelling…";
      }
    }

    update();
    model.on("change:sections", update);
    root.addEventListener("click", click);
    return () => model.off("change:sections", update);
  },
};
