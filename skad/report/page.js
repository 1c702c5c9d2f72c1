"use strict";
// The table is there without this; with it, it can be searched and sorted, and long ones come in part.
(() => {
  const AT_FIRST = 200;
  const table = document.getElementById("rows");
  const body = table.tBodies[0];
  const search = document.getElementById("search");
  const more = document.getElementById("more");
  const found = document.getElementById("found");
  let rows = Array.from(body.rows);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  let all = false;

  function show() {
    const wanted = search.value.trim().toLowerCase();
    let matching = 0;
    for (const row of rows) {
      const matches = texts.get(row).includes(wanted);
      matching += matches;
      row.hidden = !matches || (!all && matching > AT_FIRST);
    }
    const shown = all ? matching : Math.min(matching, AT_FIRST);
    found.textContent = `${shown} of ${rows.length} rows shown` +
      (shown < matching ? `, ${matching} match` : "");
    more.hidden = shown === matching;
  }

  function sort(head, column) {
    const upwards = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const isNumber = [0, 2, 3].includes(column);
    const key = (row) => {
      const text = row.cells[column].textContent;
      return isNumber ? parseFloat(text) : text;
    };
    const keys = new Map(rows.map((row) => [row, key(row)]));
    const isGap = (value) => value === "" || Number.isNaN(value);
    rows.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (isGap(x) || isGap(y)) return isGap(x) - isGap(y);  // gaps last, either way
      const order = isNumber ? x - y : x < y ? -1 : x > y ? 1 : 0;
      return upwards ? order : -order;
    });
    body.replaceChildren();  // moving rows one by one is many times slower
    body.append(...rows);
    show();
  }

  for (const [column, head] of Array.from(table.tHead.rows[0].cells).entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
  }
  search.addEventListener("input", show);
  more.addEventListener("click", () => { all = true; show(); });
  document.querySelector(".tools").hidden = false;
  show();
})();
