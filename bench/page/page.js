// Draws the charts, sorts and filters the tables, and hands out the files. Nothing here leaves the page.

// What the page carries in gzip and base64.
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).blob();
}

const charts = unpack(document.getElementById("charts").textContent).then((file) => file.text()).then(JSON.parse);

// One after the other, so that the page answers meanwhile: first what is open, then what is folded away, which some
// browsers give no width before it is opened.
async function draw(place) {
  if (place.dataset.drawn || !place.clientWidth) return;
  place.dataset.drawn = "begun";
  const { specs, config } = await charts;
  const spec = { ...specs[place.dataset.chart], description: place.dataset.said };
  const options = { actions: false, renderer: "svg", config, loader: { load: () => Promise.reject(new Error("no network")) } };
  place.view = (await vegaEmbed(place, spec, options)).view;
  place.dataset.drawn = "done";
}

async function drawAll() {
  const places = [...document.querySelectorAll(".chart")];
  const folded = (place) => Boolean(place.closest("details:not([open])"));
  for (const place of places.sort((a, b) => folded(a) - folded(b))) {
    await draw(place);
    await new Promise((resume) => setTimeout(resume));
  }
  document.documentElement.dataset.drawn = "done";
}

// The columns that name a row stay in sight while the others are scrolled, where they leave these some room.
function pin(table) {
  const names = table.tBodies[0].querySelectorAll("tr:first-child > th").length;
  const room = 0.65 * table.parentElement.clientWidth;
  const widths = [...table.tHead.rows[0].cells].slice(0, names).map((cell) => cell.offsetWidth);
  let [left, fits] = [0, true];
  widths.forEach((width, column) => {
    fits &&= left + width <= room;
    for (const row of table.rows) {
      row.cells[column].classList.toggle("pinned", fits);
      row.cells[column].style.setProperty("--left", `${left}px`);
    }
    left += width;
  });
}

function pinAll() {
  for (const table of document.querySelectorAll("table")) pin(table);
}

function key(row, column) {
  const text = row.cells[column].dataset.key;
  const number = text === "" ? NaN : Number(text);
  return { text, number };
}

// Numbers before words, and empty cells last, whichever way the rest goes.
function compare(a, b, direction) {
  if (a.text === "" || b.text === "") return (a.text === "") - (b.text === "");
  const numbers = !Number.isNaN(a.number) - !Number.isNaN(b.number);
  if (numbers) return -numbers;
  const order = Number.isNaN(a.number) ? a.text.localeCompare(b.text, "en", { numeric: true }) : a.number - b.number;
  return direction * order;
}

function sort(button) {
  const heading = button.closest("th");
  const table = button.closest("table");
  const descending = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const column = Number(button.dataset.sorts);
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, at: key(row, column) }));
  rows.sort((a, b) => compare(a.at, b.at, descending ? -1 : 1));
  table.tBodies[0].append(...rows.map((one) => one.row));
}

function filter(input) {
  const table = document.getElementById(input.dataset.filters);
  const rows = [...table.tBodies[0].rows];
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  const told = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  document.querySelector(`[data-counts="${input.dataset.filters}"]`).textContent = told;
  pin(table);
}

async function download(button) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await unpack(button.dataset.content));
  link.download = button.dataset.download;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.sorts) sort(button);
  if (button?.dataset.download) download(button);
});
document.addEventListener("input", (event) => {
  if (event.target.dataset.filters) filter(event.target);
});
for (const folded of document.querySelectorAll("details")) {
  folded.addEventListener("toggle", drawAll);
  folded.addEventListener("toggle", pinAll);
}
window.addEventListener("resize", pinAll);
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
document.getElementById("without-script")?.remove();
pinAll();
drawAll();
