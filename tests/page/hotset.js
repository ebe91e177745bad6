// A hotset process in front of an origin, and what clients do with it.
'use strict';
const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');

/** Waits for a condition; how long is no assertion, only the end of a test that hangs. */
async function until(what, condition, limit = 30_000) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what} did not come`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

/** The key `tls` of a configuration with a certificate that nobody knows yet, in `folder`. */
function selfSigned(folder) {
  const [cert, key] = ['tls.crt', 'tls.key'].map((name) => path.join(folder, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return `tls: { cert: '${cert}', key: '${key}' }`;
}

class Hotset {
  /** `extra`: lines of the configuration. */
  static async start(origin, extra = '') {
    const hotset = new Hotset();
    hotset.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hotset-page-'));
    const disk = path.join(hotset.folder, 'disk');
    fs.mkdirSync(disk);
    const file = path.join(hotset.folder, 'hotset.yaml');
    const admin = extra.includes('admin:') ? '' : 'admin: { address: 127.0.0.1:0 }\n';
    fs.writeFileSync(file, `listen: [{ address: 127.0.0.1:0 }]\n${admin}`
      + `origin: { endpoint: '${origin.endpoint}', attempts: 1, credentials: { anonymous: true } }\n`
      + `cache: { memory: 64MiB, disk: [{ path: '${disk}', capacity: 256MiB }] }\nlog: { access: 'off' }\n${extra}`, { mode: 0o600 });
    hotset.process = spawn(process.env.HOTSET ?? 'target/debug/hotset', ['serve', '--config', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    hotset.log = '';
    for (const stream of [hotset.process.stdout, hotset.process.stderr]) {
      stream.on('data', (data) => { hotset.log += data; });
    }
    const said = async (pattern) => {
      const found = await until(String(pattern), () => {
        if (hotset.process.exitCode !== null) throw new Error(`hotset ended: ${hotset.log}`);
        return pattern.exec(hotset.log);
      });
      return found[1];
    };
    hotset.s3 = new URL(await said(/serving S3 on (http:\S+)/));
    hotset.admin = await said(/metrics and health on (https?:\S+)/);
    hotset.agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
    return hotset;
  }

  /** The status of a read; its body is read to the end. */
  read(target, method = 'GET') {
    return new Promise((resolve, reject) => {
      const { hostname, port } = this.s3;
      const request = http.request({ hostname, port, path: target, method, agent: this.agent }, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode));
        answer.on('error', reject);
      });
      request.on('error', reject);
      request.end();
    });
  }

  /** Reads without pause until the function that it returns is called. */
  load(targets) {
    let running = true;
    const reader = async () => {
      for (let turn = 0; running; turn += 1) await this.read(targets[turn % targets.length]);
    };
    const readers = [reader(), reader()];
    return async () => {
      running = false;
      await Promise.all(readers);
    };
  }

  async stop() {
    this.agent.destroy();
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill('SIGKILL');
    await ended;
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

module.exports = { Hotset, selfSigned, until };
