// Drives the pages for people in a real browser, for TestE2E/page. What it needs
// comes in as JSON: modules (a folder with node_modules), browser (a program),
// open (URL of the admin listener), control (of the test: POST /release lets the
// downloads under way end), guarded (of an admin listener with a token), token,
// welcome (of the page for those who only use a cache), shots (a folder for
// pictures, or ""). It prints what it measured, and fails with a reason.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const given = JSON.parse(process.argv[2]);
const require = createRequire(join(given.modules, "node_modules", "x.js"));
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

const browser = await chromium.launch({ executablePath: given.browser, args: ["--no-sandbox"] });
const wrong = []; // what the console had to say

async function tab(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000); // of a machine that is busy
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") wrong.push(`${page.url()}: ${m.text()}`); });
  page.on("pageerror", (e) => wrong.push(`${page.url()}: ${e}`));
  page.on("dialog", (d) => d.accept());
  return page;
}

async function accessible(page, what) {
  // The pages have no frames, for which alone another page is opened at each look.
  const { violations } = await new AxeBuilder({ page }).setLegacyMode().analyze();
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`), [], what);
}

// unforced does what makes the console speak of a status that is wanted here.
async function unforced(act) {
  const before = wrong.length;
  await act();
  wrong.length = before;
}

const shoot = (page, name, fullPage = false) => given.shots && page.screenshot({ path: join(given.shots, name + ".png"), fullPage });
const page = await tab();
const at = (path) => page.goto(given.open + path);
const rows = (n) => page.waitForFunction((n) => document.querySelectorAll("#flight-rows tr").length === n, n);

// Painted at once, however much is under way: each time in a browser that has none of it yet,
// beside what a page of one word takes there.
const paints = { "the page": [], "one word": [] };
for (let i = 0; i < 7; i++) {
  for (const [what, url] of [["one word", "data:text/html,<title>x</title>word"], ["the page", given.open + "/"]]) {
    const cold = await tab();
    await cold.goto(url);
    paints[what].push(await cold.evaluate(() => new Promise((done) => {
      const [page] = performance.getEntriesByType("navigation");
      new PerformanceObserver((l) => done([page.responseEnd, l.getEntries()[0].startTime].map(Math.round))).observe({ type: "paint", buffered: true });
    })));
    await cold.context().close();
  }
}
for (const [what, all] of Object.entries(paints)) {
  all.sort(([, a], [, b]) => a - b);
  console.log(`with 1000 downloads, ms to the end of ${what} and to its first paint: ${all.map((p) => p.join("/")).join(" ")}`);
}

// Downloads: the oldest, live, filtered.
await at("/");
await page.getByText("live", { exact: true }).waitFor();
await rows(100);
assert.match(await page.locator("#flight-sum").textContent(), /The oldest 100 of 1.000 are shown/);
const elements = await page.locator("*").count();
const sent = await page.evaluate(() => performance.getEntriesByType("navigation")[0].decodedBodySize);
console.log(`the page: ${elements} elements, ${sent} bytes`);
assert.ok(elements < 2500, `${elements} elements`);
assert.ok(sent < 128 << 10, `${sent} bytes`);
await shoot(page, "downloads");
const filter = page.getByLabel("Filter downloads");
await filter.fill("slow/0042");
await rows(1);
assert.match(page.url(), /\?q=slow/);
assert.ok(await filter.evaluate((e) => e === document.activeElement), "focus stays where one types");
await filter.fill("no such thing");
await page.getByText(/None of the 1.000/).waitFor();
await filter.fill("");
await rows(100);
await accessible(page, "with downloads");

// They end, and the page says so by itself, without being loaded again.
await page.evaluate(() => { window.same = true; });
await fetch(given.control + "/release", { method: "POST" });
await page.getByText("Nothing is being downloaded.").waitFor();
await page.locator("#hubs").getByText(/^1.00\d$/).first().waitFor();
assert.ok(await page.evaluate(() => window.same));
assert.match(await page.locator("#races").textContent(), /127\.0\.0\.1.*\+|µs|ms|given up|absent/s);

// What is stored: pinned, filtered, purged, in the list and by itself.
await at("/content");
await page.getByLabel("Hub", { exact: true }).selectOption("tree");
await page.getByRole("link", { name: "pool/" }).click();
await page.getByText("2 objects,").waitFor();
await page.getByLabel("Pin /pool/a.deb", { exact: true }).click();
await page.locator("#listing .badge", { hasText: "pinned" }).waitFor();
await shoot(page, "content");
await page.getByLabel("Unpin /pool/a.deb").click();
await page.locator("#listing .badge").waitFor({ state: "detached" });
await page.getByLabel("Path contains").fill("b.deb");
await page.getByText("1 object,").waitFor();
await page.getByLabel("Purge /pool/b.deb").click();
await page.getByText("1 object purged").waitFor();
await page.getByText("Nothing here has “b.deb” in its path.").waitFor();
await page.getByLabel("Path contains").fill("");
await page.getByRole("link", { name: "a.deb" }).click();
await page.locator("dt", { hasText: "Digest" }).waitFor();
await accessible(page, "an object");
await shoot(page, "object");
await page.getByLabel("Purge /pool/a.deb").click();
await page.waitForURL(/\/content\?hub=tree/);
await page.getByText("Nothing is stored here.").waitFor();
await at("/content?hub=tree");
await page.getByLabel("Purge /slow/").click();
await page.getByText("1000 objects purged").waitFor();
await page.getByText("Nothing is stored here.").waitFor();

// Switches.
await at("/configuration");
await page.getByRole("button", { name: "Go offline" }).click();
await page.locator("#switches .badge", { hasText: "offline" }).waitFor();
await page.getByRole("button", { name: "Go online" }).click();
await page.getByRole("button", { name: "Log level debug" }).click();
await page.getByText("Log level: debug").waitFor();
await page.getByRole("button", { name: "Log level info" }).click();
await page.getByText("Log level: info").waitFor();
await page.getByRole("button", { name: "Reload", exact: true }).click();
await page.getByText("The configuration was read again.").waitFor();

// Without JavaScript all is there to read, and filters are forms.
const plain = await tab({ javaScriptEnabled: false });
await plain.goto(given.open + "/content?hub=pair&prefix=/pool/");
await plain.getByLabel("Path contains").fill("a.deb");
await plain.getByRole("button", { name: "Show" }).click();
await plain.getByText("1 object,").waitFor();
await plain.waitForLoadState("load"); // its styles, too
assert.equal(await plain.getByRole("button", { name: /Purge/ }).count(), 0, "buttons that do nothing");
await plain.context().close();

// Who signs in with the token.
const guest = await tab();
await guest.goto(given.guarded + "/mirrors");
await guest.waitForURL(/\/login$/);
await accessible(guest, "sign-in");
await unforced(async () => {
  await guest.getByLabel("Token").fill("wrong");
  await guest.getByRole("button", { name: "Sign in" }).click();
  await guest.getByText("That is not the token.").waitFor();
});
await accessible(guest, "sign-in refused");
await shoot(guest, "sign-in");
await guest.getByLabel("Token").fill(given.token);
await guest.getByRole("button", { name: "Sign in" }).click();
await guest.getByText("live", { exact: true }).waitFor();
await guest.goto(given.guarded + "/configuration");
assert.ok(!(await guest.content()).includes(given.token), "the token is shown");
await guest.getByRole("button", { name: "Log level debug" }).click();
await guest.getByText("Log level: debug").waitFor();
await guest.getByRole("button", { name: "Sign out" }).click();
await guest.waitForURL(/\/login$/);
await guest.goto(given.guarded + "/");
await guest.waitForURL(/\/login$/);
await guest.context().close();

// Every page in either scheme and on a phone: accessible, and no wider than it is.
const views = {
  overview: "/", mirrors: "/mirrors", hubs: "/content", folders: "/content?hub=pair", files: "/content?hub=pair&prefix=/pool/",
  "found-nothing": "/content?hub=tree&q=nothing", problems: "/problems", configuration: "/configuration",
  object: "/object?hub=pair&path=/pool/a.deb", missing: "/object?hub=tree&path=/none",
};
for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
  const other = await tab({ colorScheme: scheme, viewport: { width, height: 844 } });
  const all = Object.entries(views).map(([name, path]) => [name, given.open + path]);
  for (const [name, url] of [...all, ["welcome", given.welcome]]) {
    const open = () => other.goto(url);
    await (name === "missing" ? unforced(open) : open());
    await accessible(other, `${name} ${scheme} ${width}`);
    const wide = await other.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name} is ${wide} wide on ${width}`);
    await shoot(other, `${name}-${scheme}-${width}`, true);
  }
  await other.context().close();
}

assert.deepEqual(wrong, [], "the console has errors");

// The policy holds: what somebody gets into the page does not run.
await at("/");
const ran = await page.evaluate(() => {
  const s = document.createElement("script");
  s.textContent = "window.ran = true";
  document.body.append(s);
  return window.ran === true;
});
assert.ok(!ran, "an inline script runs");
assert.ok(wrong.some((w) => w.includes("Content Security Policy")), "nobody was told of it");

await browser.close();
