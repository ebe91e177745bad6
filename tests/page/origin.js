// An S3 origin of a few objects, whose answers a test can turn into failures.
'use strict';
const { createHash } = require('node:crypto');
const http = require('node:http');

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

class Origin {
  constructor() {
    this.objects = new Map();
    this.fails = false;
    this.gate = null;
    this.server = http.createServer((request, response) => this.answer(request, response));
  }

  async start() {
    await new Promise((started) => this.server.listen(0, '127.0.0.1', started));
    this.endpoint = `http://127.0.0.1:${this.server.address().port}`;
  }

  put(bucket, key, body) {
    this.objects.set(`${bucket}/${key}`, body);
  }

  /** Holds answers to reads of objects until the function that it returns is called. */
  hold() {
    let open;
    this.gate = new Promise((resolve) => { open = resolve; });
    return () => { this.gate = null; open(); };
  }

  async answer(request, response) {
    const url = new URL(request.url, this.endpoint);
    const name = decodeURIComponent(url.pathname.slice(1));
    request.resume();
    if (this.fails) return this.refuse(response, 500, 'InternalError');
    if (url.searchParams.get('list-type') === '2') return this.list(response, name, url.searchParams);
    const body = this.objects.get(name);
    if (body === undefined) return this.refuse(response, 404, 'NoSuchKey');
    if (this.gate) await this.gate;
    const headers = {
      'content-type': 'application/octet-stream',
      'last-modified': 'Thu, 01 Oct 2026 10:00:00 GMT',
      etag: `"${createHash('md5').update(body).digest('hex')}"`,
      'accept-ranges': 'bytes',
    };
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const from = range ? Number(range[1]) : 0;
    const to = range && range[2] ? Math.min(Number(range[2]), body.length - 1) : body.length - 1;
    const part = body.subarray(from, to + 1);
    if (range) headers['content-range'] = `bytes ${from}-${to}/${body.length}`;
    response.writeHead(range ? 206 : 200, { ...headers, 'content-length': part.length });
    response.end(request.method === 'HEAD' ? undefined : part);
  }

  list(response, bucket, query) {
    const prefix = query.get('prefix') ?? '';
    const of = [...this.objects].filter(([name]) => name.startsWith(`${bucket}/${prefix}`));
    const entries = of.map(([name, body]) => {
      const etag = createHash('md5').update(body).digest('hex');
      return `<Contents><Key>${escape(name.slice(bucket.length + 1))}</Key><LastModified>2026-10-01T10:00:00.000Z</LastModified>`
        + `<ETag>&quot;${etag}&quot;</ETag><Size>${body.length}</Size><StorageClass>STANDARD</StorageClass></Contents>`;
    });
    const body = `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${bucket}</Name>`
      + `<Prefix>${escape(prefix)}</Prefix><KeyCount>${of.length}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>${entries.join('')}</ListBucketResult>`;
    response.writeHead(200, { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }

  refuse(response, status, code) {
    const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>made up</Message></Error>`;
    response.writeHead(status, { 'content-type': 'application/xml', 'content-length': body.length });
    response.end(body);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

module.exports = { Origin };
