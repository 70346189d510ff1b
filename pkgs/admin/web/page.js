// What the page does beyond reading: it takes changes as they come, filters while
// one types, and carries out what buttons say. The server renders everything; this
// puts its HTML in place, and leaves alone what is as it was.

document.documentElement.classList.add("js");

const note = document.getElementById("note");
let quiet;

function say(text) {
  note.textContent = text;
  clearTimeout(quiet);
  quiet = setTimeout(() => { note.textContent = ""; }, 6000);
}

// parse makes elements of HTML that the server has rendered.
function parse(html) {
  const t = document.createElement("template");
  t.innerHTML = html;
  return t.content;
}

// morph makes the children of old those of fresh. Elements with an id stay the ones
// they are, so that focus, selection and open details stay too.
function morph(old, fresh) {
  const known = new Map();
  for (const child of old.children) if (child.id) known.set(child.id, child);
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = next.id ? known.get(next.id) : undefined;
    if (same && same.nodeName === next.nodeName) {
      if (same !== at) old.insertBefore(same, at); else at = at.nextSibling;
      update(same, next);
    } else if (at && !at.id && !next.id && at.nodeName === next.nodeName) {
      const here = at;
      at = at.nextSibling;
      if (here.nodeType === Node.ELEMENT_NODE) update(here, next);
      else if (here.data !== next.data) here.data = next.data;
    } else {
      old.insertBefore(next, at);
    }
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

function update(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  morph(old, fresh);
}

// live takes changes: an event for each region, its HTML the data.
const state = document.getElementById("live");
let source;

function live() {
  const url = document.body.dataset.live;
  if (!url) return;
  source?.close();
  const mine = source = new EventSource(url.split("?")[0] + location.search);
  mine.onopen = () => { state.textContent = "live"; state.classList.add("on"); };
  mine.onerror = () => {
    state.textContent = "not connected";
    state.classList.remove("on");
    if (mine.readyState === EventSource.CLOSED && mine === source) setTimeout(() => { if (mine === source) live(); }, 5000);
  };
  for (const region of document.querySelectorAll("[data-region]")) {
    mine.addEventListener(region.dataset.region, (e) => { if (mine === source) morph(region, parse(e.data)); });
  }
}

// refresh shows this address anew, where it has changed.
let turn = 0;

async function refresh() {
  const mine = ++turn;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (mine !== turn) return; // another one has been asked for since
  if (!response.ok) { say(page.querySelector("main .bad")?.textContent ?? response.statusText); return; }
  for (const old of document.querySelectorAll("[data-region], [data-part]")) {
    const fresh = page.getElementById(old.id);
    if (fresh) morph(old, fresh);
  }
  live();
}

// Filters: as one types.
for (const form of document.querySelectorAll("form[data-filter]")) {
  let soon;
  const filter = () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    history.replaceState(null, "", location.pathname + (query.size ? "?" + query : ""));
    refresh();
  };
  form.addEventListener("input", (e) => {
    if (e.target.name === "hub") form.elements.prefix.value = "";
    if (e.target.name === "prefix" && !/^\/(.*\/)?$/.test(e.target.value)) return; // half a folder
    clearTimeout(soon);
    soon = setTimeout(filter, 200);
  });
  form.addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(soon); filter(); });
}

// Buttons: data-method, data-url, data-body; data-sure asks before.
document.addEventListener("click", async (e) => {
  const button = e.target.closest("button[data-method]");
  if (!button || (button.dataset.sure && !confirm(button.dataset.sure))) return;
  const { method, url, body, done } = button.dataset;
  button.disabled = true;
  try {
    const response = await fetch(url, { method, body, headers: body ? { "Content-Type": "application/json" } : {} });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.message);
    if (answer.objects !== undefined) say(answer.objects === 1 ? "1 object purged" : `${answer.objects} objects purged`);
    else say(done ?? "Done");
    if (location.pathname === "/object" && method === "DELETE" && answer.objects !== undefined) {
      location.assign(document.querySelector("main a").href);
      return;
    }
    await refresh();
  } catch (err) {
    say(`Not done: ${err.message}`);
  } finally {
    button.disabled = false;
  }
});

live();
