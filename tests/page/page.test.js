// The web page of the admin port, in a real browser, in front of a real server.
'use strict';
const assert = require('node:assert/strict');
const { after, afterEach, before, test } = require('node:test');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { launch, open } = require('./browser');
const { Hotset, selfSigned, until } = require('./hotset');
const { Origin } = require('./origin');

const TOKEN = 'made-up-token-of-the-page';
/** A key that is markup, script and an attribute's end; its path as a client sends it. */
const HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>';
const HOSTILE_PATH = `/photos/${encodeURIComponent(HOSTILE)}`;
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

let origin;
let hotset;
/** A named origin that nobody listens for. */
const ARCHIVE = "origins: { archive: { endpoint: 'http://127.0.0.1:9', attempts: 1, credentials: { anonymous: true } } }\nbuckets: { old: { origin: archive } }\n";
let closed;
let browser;
const contexts = [];

before(async () => {
  origin = new Origin();
  await origin.start();
  for (let cat = 0; cat < 8; cat += 1) origin.put('photos', `cats/${cat}.jpg`, Buffer.alloc(50_000, cat));
  const rules = "rules: [{ match: '**', freshness: immutable }]\n";
  [hotset, closed, browser] = await Promise.all([
    Hotset.start(origin, rules + ARCHIVE),
    Hotset.start(origin, `admin: { address: 127.0.0.1:0, token: ${TOKEN} }\n${rules}`),
    launch(),
  ]);
});

after(async () => {
  await browser?.close();
  await Promise.all([hotset?.stop(), closed?.stop()]);
  origin?.stop();
});

afterEach(async () => {
  origin.fails = false;
  for (const context of contexts.splice(0)) await context.close();
});

async function visit(at = hotset, view = '', options = {}) {
  const opened = await open(browser, options);
  contexts.push(opened.context);
  await opened.page.goto(`${at.admin}/${view}`);
  return opened;
}

/** The value that the legend of a chart shows now. */
const legend = (page, chart, line) => page.locator('figure', { has: page.getByRole('heading', { name: chart, exact: true }) })
  .locator('.legend > div', { hasText: line }).locator('dd').innerText();

/** How many pixels of a chart are drawn in colour. */
const drawn = (page, chart) => page.locator('figure', { has: page.getByRole('heading', { name: chart, exact: true }) })
  .locator('canvas').evaluate((canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let pixels = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] > 100 && Math.max(data[at], data[at + 1], data[at + 2]) - Math.min(data[at], data[at + 1], data[at + 2]) > 60) pixels += 1;
    }
    return pixels;
  });

function assertClean(seen, at = hotset) {
  assert.deepEqual(seen.problems, []);
  for (const url of seen.requests) assert.equal(new URL(url).origin, at.admin, 'nothing is asked of another place');
}

test('charts move under load, and figures tell what was served', async () => {
  const { page, seen } = await visit();
  await until('a chart', () => page.locator('canvas').count());
  const stop = hotset.load(Array.from({ length: 8 }, (_, cat) => `/photos/cats/${cat}.jpg`));
  await until('hits', async () => /^[1-9]/.test(await legend(page, 'Requests', 'hit')));
  await until('bytes from memory', async () => /^[1-9].* [KMG]iB\/s$/.test(await legend(page, 'Bytes to clients', 'memory')));
  await until('a drawn chart', async () => await drawn(page, 'Requests') > 100);
  const before = await drawn(page, 'Bytes to clients');
  await until('a chart that moves', async () => await drawn(page, 'Bytes to clients') !== before);
  await until('a hit ratio', async () => /^\d/.test(await page.locator('.figures .value').first().innerText()));
  await until('a latency', async () => / (µs|ms|s)$/.test(await legend(page, 'Time to first byte', 'p99')));
  await stop();
  await until('rest', async () => await legend(page, 'Requests', 'hit') === '0/s');
  assertClean(seen);
});

test('the origin’s health and recent errors are shown with their reasons', async () => {
  const { page, seen } = await visit();
  origin.fails = true;
  assert.equal(await hotset.read('/photos/never-read.jpg'), 503);
  await until('the outage', async () => /fails/.test(await page.locator('.health').innerText()));
  await page.getByText('in use').first().waitFor();
  await page.getByRole('heading', { name: 'Origin archive' }).waitFor();
  const archive = page.locator('#overview .panel', { hasText: 'Origin archive' });
  assert.match(await archive.innerText(), /archive[\s\S]*http:\/\/127\.0\.0\.1:9[\s\S]*not asked yet/);
  assert.equal(await hotset.read('/old/key'), 503);
  await until('its outage', async () => /archive[\s\S]*fails/.test(await archive.innerText()));
  await page.getByRole('link', { name: 'Errors' }).click();
  const row = page.getByRole('row', { name: /never-read/ });
  await row.waitFor();
  assert.match(await row.innerText(), /503[\s\S]*ServiceUnavailable[\s\S]*GET \/photos\/never-read\.jpg/);
  assertClean(seen);
});

test('hostile keys are text', async () => {
  const { page, seen } = await visit(hotset, '#errors');
  origin.fails = true;
  await hotset.read(HOSTILE_PATH);
  await hotset.read('/photos/<img/src=x/onerror=alert(3)>');
  origin.fails = false;
  await page.getByRole('cell', { name: /onerror/ }).first().waitFor();
  await page.goto(`${hotset.admin}/#objects`);
  await page.locator('#purge-what').fill(`s3://photos/${HOSTILE}`);
  await page.getByRole('button', { name: 'Preview' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  assert.equal(await dialog.locator('li').first().innerText(), `s3://photos/${HOSTILE}`);
  await dialog.getByRole('button', { name: 'Purge' }).click();
  await page.getByText(`Purged s3://photos/${HOSTILE}.`).waitFor();
  origin.put('photos', `evil/${HOSTILE}`, Buffer.alloc(10));
  origin.fails = true;
  await page.locator('#warm-what').fill(`s3://photos/evil/${HOSTILE}`);
  await page.getByRole('button', { name: 'Warm', exact: true }).click();
  await page.locator('.jobs .keys').getByText('onerror').waitFor();
  assert.equal(await page.locator('main img, main script').count(), 0);
  assertClean(seen);
});

test('a purge is previewed, confirmed and done', async () => {
  const { page, seen } = await visit(hotset, '#objects');
  await hotset.read('/photos/cats/1.jpg');
  await hotset.read('/photos/cats/1.jpg');
  await page.getByLabel('Scope').selectOption('prefix');
  await page.locator('#purge-what').fill('s3://photos/cats/');
  const known = async () => {
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('dialog').waitFor();
    return page.getByRole('dialog').innerText();
  };
  assert.match(await known(), /Memory knows [1-9]\d* objects of it/);
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.match(await known(), /Memory knows [1-9]\d* objects of it/, 'a preview purges nothing');
  await page.getByRole('dialog').getByRole('button', { name: 'Purge' }).click();
  await page.getByText('Purged s3://photos/cats/*.').waitFor();
  assert.match(await known(), /Memory knows 0 objects of it/);
  await page.keyboard.press('Escape');

  await page.getByLabel('Scope').selectOption('everything');
  await page.getByRole('button', { name: 'Preview' }).click();
  const go = page.getByRole('dialog').getByRole('button', { name: 'Purge' });
  assert.equal(await go.isDisabled(), true, 'everything is confirmed by a word');
  await page.getByLabel(/Type “everything”/).fill('everything');
  await go.click();
  await page.getByText('Purged s3://*.').waitFor();
  await page.getByLabel('Scope').selectOption('bucket');
  await page.locator('#purge-what').fill('no/bucket');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByText(/bucket: `no\/bucket`/).waitFor();
  assert.deepEqual(seen.problems.filter((problem) => !/400 \(Bad Request\)/.test(problem)), []);
});

test('an object and a request are explained', async () => {
  const { page, seen } = await visit(hotset, '#objects');
  const explain = async (what) => {
    await page.getByLabel('Object or request').fill(what);
    await page.getByRole('button', { name: 'Explain' }).click();
  };
  const fact = (name) => page.locator('.facts div', { has: page.locator('dt', { hasText: new RegExp(`^${name}$`) }) }).locator('dd').innerText();
  await hotset.read('/photos/cats/2.jpg');
  await explain('photos/cats/2.jpg');
  await page.getByText('a hit: answered without asking the origin').waitFor();
  assert.equal(await fact('Object'), 's3://photos/cats/2.jpg');
  assert.match(await fact('Rule'), /^1 of 1: \*\*, immutable; /);
  assert.match(await fact('In memory'), /^48\.8 KiB: bytes 0-49999$/);
  await explain('GET /photos/cats/2.jpg?acl');
  await page.getByText(/^no: it streams through: the query parameter `acl`/).waitFor();
  await explain('photos');
  await page.getByText('`s3://photos`: the key').waitFor();
  assert.equal(await page.locator('.facts').last().innerText(), '');
  assert.deepEqual(seen.problems.filter((problem) => !/400 \(Bad Request\)/.test(problem)), []);
});

test('the hottest names are listed, and a hostile one is text', async () => {
  const { page, seen } = await visit(hotset, '#objects');
  const stop = hotset.load(['/photos/cats/3.jpg', HOSTILE_PATH]);
  const row = page.getByRole('row', { name: /^photos\/cats\/3\.jpg .*\/s .* %$/ });
  await row.waitFor();
  await page.getByRole('rowheader', { name: `photos/${HOSTILE}`, exact: true }).waitFor();
  await page.getByLabel('Names', { exact: true }).selectOption('prefixes');
  await page.getByLabel('By', { exact: true }).selectOption('bytes');
  await page.getByRole('row', { name: /^photos\/ .* [KM]iB\/s 100 %$/ }).waitFor();
  await page.getByLabel('Names', { exact: true }).selectOption('identities');
  await page.getByText('Nothing in the last minutes.').waitFor();
  await stop();
  assert.equal(await page.locator('main img, main script').count(), 0);
  assertClean(seen);
});

test('a warm job shows its progress, ends, and is cancelled', async () => {
  const { page, seen } = await visit(hotset, '#objects');
  for (let dog = 0; dog < 5; dog += 1) origin.put('photos', `dogs/${dog}.jpg`, Buffer.alloc(40_000, dog));
  await page.locator('#warm-what').fill('s3://photos/dogs/');
  await page.getByRole('button', { name: 'Warm', exact: true }).click();
  const job = page.locator('.jobs li', { hasText: '5 of 5 objects' });
  await job.waitFor();
  await until('its end', async () => /done/.test(await job.innerText()));
  assert.equal(await job.getByRole('progressbar').getAttribute('aria-valuenow'), '100');

  const open = origin.hold();
  origin.put('photos', 'birds/1.jpg', Buffer.alloc(40_000, 1));
  await page.locator('#warm-what').fill('s3://photos/birds/1.jpg');
  await page.getByRole('button', { name: 'Warm', exact: true }).click();
  const held = page.locator('.jobs li', { hasText: 'running' });
  await held.getByRole('button', { name: /^Cancel/ }).click();
  await page.locator('.jobs li', { hasText: 'cancelled' }).waitFor();
  open();
  assertClean(seen);
});

test('a token is asked for, a wrong one is refused, the right one lasts for the tab', async () => {
  const { page, seen, context } = await visit(closed);
  await page.getByLabel('Token').fill('a-wrong-made-up-token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('This token is refused.').waitFor();
  assert.equal(await page.locator('.shell').count(), 0, 'nothing is shown');
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('canvas').first().waitFor();
  await page.reload();
  await page.locator('canvas').first().waitFor();
  assert.deepEqual(await context.cookies(), []);
  assert.ok(seen.requests.every((url) => !url.includes(TOKEN)), 'it is in no address');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.reload();
  await page.getByLabel('Token').waitFor();
  assert.equal(await page.evaluate((token) => JSON.stringify([localStorage, sessionStorage]).includes(token), TOKEN), false);
  assert.deepEqual(seen.problems.filter((problem) => !/401 \(Unauthorized\)/.test(problem)), []);
});

test('over https, the token that may only read shows everything and purges nothing', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hotset-page-tls-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const reads = 'made-up-token-that-may-read';
  const admin = `admin: { address: 127.0.0.1:0, token: ${TOKEN}, read_token: ${reads}, ${selfSigned(folder)} }\n`;
  const secured = await Hotset.start(origin, admin);
  t.after(() => secured.stop());
  assert.match(secured.admin, /^https:/);
  await secured.read('/photos/cats/1.jpg');
  const { page, seen } = await visit(secured, '', { ignoreHTTPSErrors: true });
  await page.getByLabel('Token').fill(reads);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('canvas').first().waitFor();
  await page.getByRole('link', { name: 'Objects' }).click();
  await page.getByLabel('Scope').selectOption('prefix');
  await page.locator('#purge-what').fill('s3://photos/cats/');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByText(/read_token/).first().waitFor();
  assert.equal(await page.getByRole('dialog').count(), 0, 'nothing can be confirmed');
  assert.doesNotMatch(secured.log, /purged/i);
  assertClean({ ...seen, problems: seen.problems.filter((problem) => !/40[13] \(/.test(problem)) }, secured);
});

test('the configuration has no secrets and tells what is set', async () => {
  const { page } = await visit(closed);
  await page.getByLabel('Token').fill(TOKEN);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: 'Configuration' }).click();
  await page.getByLabel('Filter').fill('admin.');
  await page.getByRole('row', { name: 'admin.token *** set' }).waitFor();
  await page.getByRole('row', { name: 'admin.token_file null default' }).waitFor();
  await page.getByLabel('Only what is set').check();
  assert.equal(await page.getByRole('row', { name: /token_file/ }).count(), 0);
  assert.ok(!(await page.content()).includes(TOKEN));
});

test('axe finds no serious fault in light, dark and phone width', async () => {
  origin.fails = true;
  await hotset.read('/photos/for-axe.jpg');
  origin.fails = false;
  const phone = { viewport: { width: 360, height: 780 }, hasTouch: true };
  for (const options of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, phone]) {
    const { page } = await visit(hotset, '', options);
    await page.locator('canvas').first().waitFor();
    for (const view of ['Overview', 'Objects', 'Errors', 'Configuration']) {
      await page.getByRole('link', { name: view }).click();
      await assertAccessible(page, `${view} ${JSON.stringify(options)}`);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wider, false, `${view} is not wider than the window`);
    }
    await page.getByRole('link', { name: 'Objects' }).click();
    await page.locator('#purge-what').fill('s3://photos/cats/1.jpg');
    await page.getByRole('button', { name: 'Preview' }).click();
    await page.getByRole('dialog').waitFor();
    await assertAccessible(page, `dialog ${JSON.stringify(options)}`);
  }
  const { page } = await visit(closed);
  await page.getByLabel('Token').waitFor();
  await assertAccessible(page, 'sign-in');
});

async function assertAccessible(page, what) {
  // Through the debugger: the page's policy lets no other script in.
  const { violations } = await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] })`);
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`), [], what);
}

test('all of it is reached by keyboard', async () => {
  const { page } = await visit();
  await page.locator('canvas').first().waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.locator(':focus').innerText(), 'Skip to the content');
  const reached = [];
  for (let turn = 0; turn < 6; turn += 1) {
    await page.keyboard.press('Tab');
    reached.push(await page.locator(':focus').innerText());
  }
  for (const name of ['Overview', 'Objects', 'Configuration', 'Pause']) assert.ok(reached.includes(name), `${name} in ${reached}`);
});
