// Chromium through the webmail: login, list, message, answer, sent, and the other person reads it.
// node webmail.mjs BASE OUT WIDTH js|nojs NONCE; prints one JSON line with what it saw.
import { chromium } from 'playwright-core';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const [base, out, width, mode, nonce] = process.argv.slice(2);
const password = process.env.PASSWORD || 'thu-dien-tu';
const seen = { errors: [], requests: [], dialogs: [], overflow: [] };

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'webmail-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
  ignoreHTTPSErrors: true,
  javaScriptEnabled: mode === 'js',
  viewport: { width: +width, height: 900 },
  locale: 'vi-VN',
  colorScheme: process.env.DARK ? 'dark' : 'light',
});

function watch(page) {
  page.on('dialog', (d) => { seen.dialogs.push(d.message()); d.dismiss(); });
  page.on('pageerror', (e) => seen.errors.push(String(e)));
  page.on('request', (r) => {
    if (!r.url().startsWith(base) && !r.url().startsWith('data:')) seen.requests.push(r.url());
  });
  page.on('console', (m) => { if (m.type() === 'error') seen.errors.push(m.text()); });
}

async function shot(page, name) {
  if (mode === 'js') {
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) seen.overflow.push(`${name}: ${wide}px`);
  }
  await page.screenshot({ path: path.join(out, `${name}-${width}-${mode}.png`) });
}

async function login(page, who) {
  await page.goto(base + '/');
  await page.fill('#user', who);
  await page.fill('#password', password);
  await page.click('form.login button');
  await page.waitForSelector('.side');
}

async function logout(page) {
  await page.click('.who form button');
  await page.waitForSelector('#password');
}

try {
  const page = await browser.newPage();
  page.setDefaultTimeout(10000);
  watch(page);
  await page.goto(base + '/');
  await shot(page, 'login');
  await page.fill('#user', 'an@gialai.example');
  await page.fill('#password', 'wrong');
  await page.click('form.login button');
  await page.waitForSelector('.notice.bad');
  seen.wrongKeepsName = (await page.inputValue('#user')) === 'an@gialai.example';

  // write a new message to binh
  await login(page, 'an@gialai.example');
  await shot(page, 'list');
  await page.click('.side .button.main');
  await page.fill('#to', 'binh@gialai.example');
  await page.fill('#subject', `Báo cáo tháng ${nonce}`);
  await page.fill('#body', `Kính gửi chị Bình,\n\n.một dòng bắt đầu bằng dấu chấm\nQuyết định số 12/QĐ-UBND.\n`);
  await page.setInputFiles('#files', { name: 'Quyết định.txt', mimeType: 'text/plain', buffer: Buffer.from('nội dung tệp') });
  await shot(page, 'compose');
  await page.click('button[value=send].main');
  await page.waitForSelector('.notice');
  seen.sent = await page.getAttribute('.notice', 'class');
  const sentUrl = '/list?f=' + encodeURIComponent(process.env.SENT || 'Sent');
  await page.goto(base + sentUrl);
  seen.inSent = (await page.textContent('main')).includes(nonce);
  await logout(page);

  // binh reads and answers
  await login(page, 'binh@gialai.example');
  await page.click(`.row.unread a:has-text("${nonce}")`);
  await page.waitForSelector('article');
  const article = await page.textContent('article');
  seen.reads = article.includes('.một dòng bắt đầu bằng dấu chấm') && article.includes('Quyết định.txt');
  await shot(page, 'message');
  if (mode === 'js') {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('a.file')]);
    seen.fileName = download.suggestedFilename();
    seen.fileText = fs.readFileSync(await download.path(), 'utf8');
  }
  await page.click('[data-key=reply]');
  await page.waitForSelector('#body');
  seen.quoted = (await page.inputValue('#body')).includes('> Quyết định số 12/QĐ-UBND.');
  seen.replyTo = await page.inputValue('#to');
  await page.fill('#body', 'Em đã nhận được.\n' + await page.inputValue('#body'));
  await shot(page, 'reply');
  await page.click('button[value=send].main');
  await page.waitForSelector('.notice');
  seen.answered = (await page.getAttribute('.notice', 'class')).includes('ok') &&
    await page.locator(`.row:has-text("${nonce}") .mark`).count() > 0;
  await logout(page);

  // an reads the answer, stars it, deletes it
  await login(page, 'an@gialai.example');
  await page.click(`.row.unread a:has-text("Re: Báo cáo tháng ${nonce}")`);
  seen.answerArrived = (await page.textContent('article')).includes('Em đã nhận được.');
  await page.click('button[value=flag]');
  await page.waitForSelector('.mails');
  seen.starred = await page.locator(`.row:has-text("${nonce}") .star`).count() > 0;
  await page.check(`.row:has-text("${nonce}") .pick input`);
  await page.click('#list button[value=delete]');
  await page.waitForSelector('.notice.ok');
  seen.deleted = !(await page.locator(`.row:has-text("${nonce}")`).count());

  // a draft is kept and found again
  await page.goto(base + '/compose?to=binh@gialai.example&subject=' + encodeURIComponent('Nháp ' + nonce));
  await page.fill('#body', 'chưa xong');
  await page.click('.tools button[value=save]');
  await page.waitForSelector('.notice.ok');
  seen.draft = (await page.inputValue('#body')) === 'chưa xong' && (await page.inputValue('#subject')) === 'Nháp ' + nonce;
  await page.click('button[value=discard]');
  await page.waitForSelector('.notice');

  // people, folders, search
  await page.goto(base + '/people?q=binh');
  seen.people = (await page.textContent('main')).includes('binh@gialai.example');
  await page.goto(base + '/folders');
  await page.fill('#name', `Hồ sơ ${nonce}`);
  await page.click('button[value=create]');
  await page.waitForSelector('.notice.ok');
  await shot(page, 'folders');
  await page.click(`.folders li:has-text("Hồ sơ ${nonce}") button[value=delete]`);
  await page.click('form.tools button[value=delete]');
  await page.waitForSelector('.notice.ok');
  await page.goto(base + sentUrl);
  await page.fill('#q', nonce);
  await page.click('form.search button');
  seen.found = await page.locator('.row').count();
  await page.goto(base + '/list?f=INBOX&lang=en');
  seen.english = (await page.textContent('h1')).trim();
  await page.goto(base + '/list?f=INBOX&lang=vi');
  await logout(page);
  await page.goto(base + '/list?f=INBOX');
  seen.afterLogout = await page.locator('#password').count();
} catch (e) {
  seen.failed = String(e).slice(0, 1500);
} finally {
  console.log(JSON.stringify(seen));
  await browser.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
