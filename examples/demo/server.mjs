// The public web server of the demo's shop: serves a folder. Deploys only replace files in that folder.
// Usage: node server.mjs [folder] [port]    (./public and 4180 when left out; port 0 takes a free one)

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve } from 'node:path';

const folder = resolve(process.argv[2] ?? 'public');
const port = Number(process.argv[3] ?? 4180);
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.txt': 'text/plain; charset=utf-8',
};

const server = createServer(async (request, response) => {
  try {
    const path = new URL(request.url ?? '/', 'http://shop').pathname;
    // Normalised, a path never leads above its root.
    const file = join(folder, normalize(path.endsWith('/') ? `${path}index.html` : path));
    const content = await readFile(file);
    const type = TYPES[extname(file)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(content);
  } catch {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('The shop has no such page (yet).\n');
  }
});

server.listen(port, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  console.log(`${url} serves ${folder}`);
  // Started by another program: it is told the address, and this ends when it does.
  process.send?.({ url });
});
process.on('disconnect', () => process.exit());
