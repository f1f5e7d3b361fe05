// Drives Debian's Firefox for the tests, by WebDriver BiDi: a line of standard input is an action, a line of standard output its
// answer, both JSON. Arguments: the browser, and whether it gets the pages' scripts.
//
// Those are kept from it, rather than scripts turned off: where none may run, Puppeteer cannot look into the page either.
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [executablePath, script] = process.argv.slice(2);
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
const page = await browser.newPage();
page.setDefaultTimeout(90_000);
await page.setViewport({ width: 1200, height: 900 });
if (script !== "true") {
  await page.setRequestInterception(true);
  page.on("request", (request) => (request.url().includes(".js") ? request.abort() : request.continue()));
}

// The first element that matches, once there is one.
async function find(selector) {
  for (let tries = 0; tries < 200; tries += 1) {
    const element = await page.$(selector).catch(() => null); // the page may be leaving
    if (element !== null) return element;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`no ${selector} at ${page.url()}`);
}

async function press(selector, options) {
  const [x, y] = await (await find(selector)).evaluate((element) => {
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  });
  await page.mouse.click(x, y, options);
}

const actions = {
  goto: (address) => page.goto(address),
  reload: () => page.reload(),
  url: () => page.url(),
  see: async (selector) => (await find(selector)).evaluate((element) => element.textContent),
  count: async (selector) => (await page.$$(selector)).length,
  value: async (selector) => (await find(selector)).evaluate((element) => element.value),
  press: (selector) => press(selector),
  leave: (selector) => Promise.all([page.waitForNavigation(), press(selector)]),
  write: async (selector, text) => {
    await press(selector, { count: 3 });
    await page.keyboard.type(text);
  },
  choose: async (selector, value) =>
    (await find(selector)).evaluate((element, chosen) => {
      element.value = chosen;
    }, value),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [action, ...words] = JSON.parse(line);
  try {
    const answer = await actions[action](...words);
    console.log(JSON.stringify({ answer: typeof answer === "object" ? null : (answer ?? null) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await browser.close();
