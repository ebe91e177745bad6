// The AWS SDK for JavaScript v3, for the tests in the folder above: one call of it for each line of JSON on stdin,
// {"operation": .., ..}, and one line of JSON with its outcome on stdout. Bodies are in base64.

"use strict";

const readline = require("node:readline");
const {
  S3Client,
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
  paginateListObjectsV2,
} = require("@aws-sdk/client-s3");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const { AWS_ENDPOINT_URL, BUCKET, PART } = process.env;
const client = new S3Client({ endpoint: AWS_ENDPOINT_URL, forcePathStyle: true, maxAttempts: 1 });
const object = (key, more) => ({ Bucket: BUCKET, Key: key, ...more });

async function body(command) {
  const answer = await client.send(command);
  return Buffer.from(await answer.Body.transformToByteArray()).toString("base64");
}

async function putParts(key, bytes, size) {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(object(key)));
  try {
    const parts = [];
    for (let at = 0; at < bytes.length; at += size) {
      const PartNumber = parts.length + 1;
      const input = object(key, { UploadId, PartNumber, Body: bytes.subarray(at, at + size) });
      const done = await client.send(new UploadPartCommand(input));
      parts.push({ ...done, PartNumber, $metadata: undefined });
    }
    const input = object(key, { UploadId, MultipartUpload: { Parts: parts } });
    await client.send(new CompleteMultipartUploadCommand(input));
  } catch (error) {
    await client.send(new AbortMultipartUploadCommand(object(key, { UploadId })));
    throw error;
  }
}

const commands = { get: GetObjectCommand, head: HeadObjectCommand, put: PutObjectCommand };

const operations = {
  async list({ prefix }) {
    const found = {};
    const pages = paginateListObjectsV2({ client, pageSize: 2 }, { Bucket: BUCKET, Prefix: prefix });
    for await (const page of pages) {
      for (const { Key, Size } of page.Contents ?? []) found[Key] = Size;
    }
    return found;
  },
  head: async ({ key }) => (await client.send(new HeadObjectCommand(object(key)))).ContentLength,
  get: ({ key, range }) => body(new GetObjectCommand(object(key, { Range: range }))),
  async put({ key, body }) {
    const bytes = Buffer.from(body, "base64");
    const size = Number(PART);
    if (bytes.length > size) await putParts(key, bytes, size);
    else await client.send(new PutObjectCommand(object(key, { Body: bytes })));
  },
  async copy({ key, source }) {
    const CopySource = `${BUCKET}/${encodeURIComponent(source)}`;
    await client.send(new CopyObjectCommand(object(key, { CopySource })));
  },
  async delete({ key }) {
    await client.send(new DeleteObjectCommand(object(key)));
  },
  presign: ({ key, method, seconds }) =>
    getSignedUrl(client, new commands[method](object(key)), { expiresIn: seconds }),
};

async function answer(line) {
  const { operation, ...input } = JSON.parse(line);
  try {
    return { value: (await operations[operation](input)) ?? null };
  } catch (error) {
    return { error: `${error.name}: ${error.message}`, status: error.$metadata?.httpStatusCode };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
  }
})();
