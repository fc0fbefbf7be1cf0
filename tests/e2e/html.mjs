// Chromium reads what the HTML re-serialiser wrote, without any policy in the way: nothing may run, nothing may load.
// node html.mjs CASES.json; the file is [[name, html], ...]; prints {"name": [what happened], ...}.
import { chromium } from 'playwright-core';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const cases = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'html-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const bad = {};
let current = '';
const note = (what) => { (bad[current] ||= []).push(what); };
const page = await browser.newPage();
page.on('dialog', (d) => { note('dialog ' + d.message()); d.dismiss(); });
await page.exposeFunction('ran', () => note('script ran'));
await page.route('**/*', (route) => {
  const url = route.request().url();
  if (url === 'http://mail.invalid/') return route.fulfill({ contentType: 'text/html', body: '<!DOCTYPE html><body></body>' });
  note('request ' + url);
  return route.abort();
});
await page.goto('http://mail.invalid/');
for (const [name, html] of cases) {
  current = name;
  // once through innerHTML, once as a document of its own, as the frame shows it
  await page.evaluate(async (h) => {
    document.body.innerHTML = h;
    document.body.insertAdjacentHTML('beforeend', document.body.innerHTML); // once more: mutations
    const f = document.createElement('iframe');
    const done = new Promise((ok) => { f.onload = ok; });
    f.srcdoc = '<!DOCTYPE html><body>' + h;
    document.body.append(f);
    await done;
    for (const doc of [document, f.contentDocument]) {
      for (const e of doc.querySelectorAll('*')) {
        if (e.closest('iframe') === f) continue;
        for (const a of e.attributes) if (/^on/i.test(a.name)) window.ran();
        if (/^(script|object|embed|svg|math|style|link|meta|base|form)$/i.test(e.localName) && doc === f.contentDocument && e.localName !== 'head') window.ran();
      }
    }
  }, html);
}
await page.waitForTimeout(300);
console.log(JSON.stringify({ cases: cases.length, bad }));
await browser.close();
fs.rmSync(profile, { recursive: true, force: true });
