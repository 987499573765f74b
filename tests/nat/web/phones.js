// Phones in pages of one headless Chromium, driven by lines on standard input:
//
//   open NAME jssip|sipjs URL USER PASSWORD HERTZ
//   call NAME USER
//   hangup NAME
//   close NAME
//
// What they tell comes out as lines `NAME: TEXT`. The end of the input ends it all.

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        // The certificate is of an authority made for the test. The browser is the one client that is told to take it.
        "--ignore-certificate-errors",
        "--autoplay-policy=no-user-gesture-required",
        // Addresses as they are: nobody answers mDNS here.
        "--disable-features=WebRtcHideLocalIpsWithMdns",
        "--allow-loopback-in-peer-connection",
    ],
});
const script = fileURLToPath(new URL("build/page.js", import.meta.url));
const pages = new Map();
const say = (text) => process.stdout.write(`${text}\n`);

async function open(name, kind, url, user, password, hertz) {
    const page = await browser.newPage();
    pages.set(name, page);
    page.on("console", (message) => say(`${name}: (console) ${message.text()}`));
    page.on("pageerror", (error) => say(`${name}: (error) ${error.message}`));
    await page.exposeFunction("tell", (text) => say(`${name}: ${text}`));
    await page.addScriptTag({ path: script });
    await page.evaluate((kind, options) => window.open_phone(kind, options), kind, {
        url,
        user,
        password,
        tone: Number(hertz),
    });
}

const orders = {
    open,
    call: (name, user) => pages.get(name).evaluate((user) => window.phone.call(user), user),
    hangup: (name) => pages.get(name).evaluate(() => window.phone.hangUp()),
    close: (name) => pages.get(name).close(),
};

say("ready");
for await (const line of createInterface({ input: process.stdin })) {
    const [order, ...words] = line.trim().split(/\s+/);
    try {
        await orders[order](...words);
    } catch (error) {
        say(`${words[0]}: (error) ${error.message}`);
    }
}
await browser.close();
