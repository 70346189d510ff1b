// Drives the page for people in a real browser, for TestE2E/page. What it needs
// comes in as JSON: modules (a folder with node_modules), browser (a program),
// open (URL of the listener), control (of the test: POST /release lets the
// downloads under way end), shots (a folder for pictures, or ""). It prints what it measured, and fails with a reason.
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
  page.setDefaultTimeout(10_000);
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") wrong.push(`${page.url()}: ${m.text()}`); });
  page.on("pageerror", (e) => wrong.push(`${page.url()}: ${e}`));
  page.on("dialog", (d) => d.accept());
  return page;
}

async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`), [], what);
}

const shoot = (page, name, fullPage = false) => given.shots && page.screenshot({ path: join(given.shots, name + ".png"), fullPage });
const page = await tab();
const at = (path) => page.goto(given.open + path);

// Downloads: painted at once, live, filtered.
await at("/");
const paint = await page.evaluate(() => new Promise((done) => {
  new PerformanceObserver((l) => done(l.getEntries()[0].startTime)).observe({ type: "paint", buffered: true });
}));
console.log(`first paint with ${await page.locator("#flight-sum").textContent()}: ${Math.round(paint)} ms`);
await page.getByText("live", { exact: true }).waitFor();
assert.equal(await page.locator("#flight-rows tr").count(), 60);
assert.match(await page.locator("#flight-sum").textContent(), /60 shown/);
const elements = await page.locator("*").count();
assert.ok(elements < 3000, `${elements} elements`);
await shoot(page, "overview-light");
const filter = page.getByLabel("Filter downloads");
await filter.fill("slow/0042");
await page.waitForFunction(() => document.querySelectorAll("#flight-rows tr").length === 1);
assert.match(page.url(), /\?q=slow/);
assert.ok(await filter.evaluate((e) => e === document.activeElement), "focus stays where one types");
await filter.fill("no such thing");
await page.getByText("None of the 60").waitFor();
await filter.fill("");
await page.waitForFunction(() => document.querySelectorAll("#flight-rows tr").length === 60);
await accessible(page, "with downloads");

// They end, and the page says so by itself, without being loaded again.
await page.evaluate(() => { window.same = true; });
await fetch(given.control + "/release", { method: "POST" });
await page.getByText("Nothing is being downloaded.").waitFor();
await page.locator("#hubs").getByText(/^6\d$/).first().waitFor();
assert.ok(await page.evaluate(() => window.same));
assert.match(await page.locator("#races").textContent(), /127\.0\.0\.1.*\+|µs|ms|given up|absent/s);

// Every page in either scheme and on a phone: accessible, and no wider than it is.
const paths = ["/", "/mirrors", "/content", "/content?hub=tree", "/content?hub=tree&q=nothing", "/problems", "/configuration", "/object?hub=tree&path=/none"];
for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
  const other = await tab({ colorScheme: scheme, viewport: { width, height: 844 } });
  for (const path of paths) {
    const missing = path.startsWith("/object");
    const before = wrong.length;
    await other.goto(given.open + path);
    if (missing) wrong.length = before; // of a 404 the console speaks
    await accessible(other, `${path} ${scheme} ${width}`);
    const wide = await other.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${path} is ${wide} wide on ${width}`);
    await shoot(other, `${path.split("?")[0].slice(1) || "overview"}${path.includes("hub") ? "-hub" : ""}-${scheme}-${width}`, true);
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
