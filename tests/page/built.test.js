// What is embedded in the binary is what its sources build, to the byte.
'use strict';
const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');

const SOURCES = path.resolve(__dirname, '../../src/admin/page');
/** Where `.ci/setup page` put the compiler and the libraries that the lock file says. */
const WORKSHOP = path.resolve(process.env.PAGE_WORKSHOP ?? 'target/page/build');

test('a rebuild gives the files that are checked in', () => {
  const sources = fs.readdirSync(SOURCES).filter((name) => /\.(ts|mjs|css|html|svg|json)$/.test(name));
  for (const name of sources) fs.copyFileSync(path.join(SOURCES, name), path.join(WORKSHOP, name));
  const out = fs.mkdtempSync(path.join(WORKSHOP, 'out-'));
  try {
    execFileSync(process.execPath, [path.join(WORKSHOP, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', WORKSHOP], { stdio: 'pipe' });
    execFileSync(process.execPath, [path.join(WORKSHOP, 'build.mjs'), out], { stdio: 'pipe' });
    const names = fs.readdirSync(out).sort();
    assert.deepEqual(names, fs.readdirSync(path.join(SOURCES, 'built')).sort());
    for (const name of names) {
      assert.ok(fs.readFileSync(path.join(out, name)).equals(fs.readFileSync(path.join(SOURCES, 'built', name))), `${name}: build it anew`);
    }
  } finally {
    fs.rmSync(out, { recursive: true });
  }
});
