// A worker that a test can kill: makes one workstation and runs the script in it, with the built code.
import { Writable } from 'node:stream';
import { Mirror } from '../../dist/activities/mirror.js';
import { probeSandbox } from '../../dist/activities/sandbox/host.js';
import { Sandboxes } from '../../dist/activities/workstation/sandboxed.js';

const { origin, home, dir, rules, script } = JSON.parse(process.argv[2]);
const task = 'p/orphan';
const mirror = new Mirror('app', origin, 'main', `${home}/mirrors/app.git`);
const base = await mirror.refresh();
const sandboxes = new Sandboxes(probeSandbox().sandbox, home);
const options = { task, mirror, base, start: base, checkout: true, prompt: '', agent: 'sh' };
const station = await sandboxes.make(dir, rules, options);
const say = () => new Writable({ write: (chunk, _, done) => process.stdout.write(chunk, done) });
await station.run({
  command: ['sh', '-c', script],
  env: { PATH: station.paths.path, NODE: '/signalbox/node' },
  output: say(),
  errors: say(),
  keys: new Map(),
  log: () => undefined,
  signal: new AbortController().signal,
  graceMs: 100,
  onStart: () => undefined,
});
await sandboxes.close();
await mirror.close();
