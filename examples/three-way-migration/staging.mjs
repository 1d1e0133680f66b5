// A tiny database that stands for staging, in memory: one table of invoices, migrations, and what a monitor would see.
// node staging.mjs PORT; it prints where it listens.

import { createServer } from 'node:http';

const rows = [
  { net: 100, tax: 19 },
  { net: 50, tax: 9 },
];
const migrations = new Set();
const metrics = { reads: 0, errors: 0 };

/** Adds a column that is the sum of others. Twice does no harm. */
function migrate(name, { add, sum }) {
  if (migrations.has(name)) return 'it was there\n';
  for (const row of rows) row[add] = sum.reduce((total, column) => total + row[column], 0);
  migrations.add(name);
  return `${rows.length} rows have ${add}\n`;
}

function sumOf(column) {
  if (!(column in rows[0])) throw new Error(`there is no column ${column}`);
  return rows.reduce((total, row) => total + row[column], 0);
}

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url, 'http://staging');
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.method === 'POST' && pathname.startsWith('/migrate/'))
    return migrate(pathname.slice('/migrate/'.length), JSON.parse(body));
  if (pathname === '/metrics') return `reads ${metrics.reads}\nerrors ${metrics.errors}\n`;
  if (pathname !== '/sum') throw new Error('nothing is there');
  metrics.reads += 1;
  return `${sumOf(searchParams.get('column'))}\n`;
}

const server = createServer((request, response) => {
  answer(request).then(
    (text) => response.end(text),
    (error) => {
      metrics.errors += 1;
      response.writeHead(400).end(`${error.message}\n`);
    },
  );
});
server.listen(Number(process.argv[2] ?? 4181), '127.0.0.1', () =>
  console.log(`staging listens on http://127.0.0.1:${server.address().port}`),
);
