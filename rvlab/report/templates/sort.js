// Sorts a table by a column when its heading is pressed; missing values stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const at = head.cellIndex;
    const down = head.ariaSort === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const { value } = row.cells[at].dataset;
      if (value === undefined) return { text: row.cells[at].textContent };
      return { number: Number(value), missing: value === "nan" };
    };
    const compare = (a, b) => {
      if (a.missing || b.missing) return (a.missing ? 1 : 0) - (b.missing ? 1 : 0);
      const number = a.number !== undefined && b.number !== undefined;
      const order = number
        ? a.number - b.number
        : (a.text ?? String(a.number)).localeCompare(b.text ?? String(b.number), undefined, { numeric: true });
      return down ? -order : order;
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => compare(a, b));
    body.append(...rows.map(([, row]) => row));
  });
}
