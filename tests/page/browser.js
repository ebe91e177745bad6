// Real Chromium, from the registry of npm, so that it is the same everywhere and needs no other package.
'use strict';
const packed = require('@sparticuz/chromium');
const { chromium } = require('playwright-core');

/** Switches of the browser: nothing that it asks for by itself leaves the machine. */
const SWITCHES = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];

async function launch() {
  return chromium.launch({ executablePath: await packed.executablePath(), headless: true, args: SWITCHES });
}

/** A page that keeps what went wrong in it, and every address that it asked for. */
async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US', ...options });
  const page = await context.newPage();
  const seen = { problems: [], requests: [] };
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.problems.push(message.text());
  });
  page.on('pageerror', (error) => seen.problems.push(String(error)));
  page.on('dialog', (dialog) => {
    seen.problems.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => seen.requests.push(request.url()));
  return { page, seen, context };
}

module.exports = { launch, open };
