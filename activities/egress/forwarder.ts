// Runs inside a sandbox, before the agent: `node forwarder.mjs SOCKET PORT -- command args…`. The sandbox has a loopback
// of its own and nothing else; what connects to 127.0.0.1:PORT there is piped to the unix socket of the agent's proxy.
// Starts the command when it listens, and ends as the command does. It is mounted alone: it imports nothing of Signalbox,
// and is mounted under a name that ends in .mjs, since no package.json beside it says what it is.

import { spawn } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import { constants } from 'node:os';

/** As env(1) and shells do: the program that starts another failed, the other cannot be run, there is none. */
const EXIT = { own: 125, notRunnable: 126, notFound: 127, signal: 128 };

const [socketPath, portText, dashes, command, ...args] = process.argv.slice(2);
const port = Number(portText);
if (!socketPath || !Number.isInteger(port) || port < 1 || port > 65_535 || dashes !== '--' || !command)
  leave('usage: forwarder.mjs SOCKET PORT -- command args…');
else serve(socketPath, port, command, args);

function leave(message: string): void {
  process.stderr.write(`signalbox: network: ${message}\n`);
  process.exitCode = EXIT.own;
}

function serve(path: string, port: number, command: string, args: string[]): void {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const proxy = connect({ path, allowHalfOpen: true });
    pipe(client, proxy);
    pipe(proxy, client);
  });
  server.once('error', (error: NodeJS.ErrnoException) => {
    leave(
      error.code === 'EADDRINUSE'
        ? `127.0.0.1:${port} is in use inside the sandbox: nothing may listen there before the agent`
        : `cannot listen on 127.0.0.1:${port}: ${error.message}`,
    );
  });
  server.listen(port, '127.0.0.1', () => {
    server.removeAllListeners('error');
    server.on('error', () => undefined);
    run(command, args);
  });
}

/** One direction; one side that breaks takes the other with it. */
function pipe(from: Socket, to: Socket): void {
  from.on('error', () => to.destroy());
  from.once('close', () => {
    if (!from.readableEnded) to.destroy();
  });
  from.pipe(to);
}

function run(command: string, args: string[]): void {
  const child = spawn(command, args, { stdio: 'inherit' });
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of signals) process.on(signal, pass);
  child.once('error', (error: NodeJS.ErrnoException) => {
    if (child.pid !== undefined) return;
    process.stderr.write(`signalbox: ${command} cannot be started: ${error.message}\n`);
    process.exit(error.code === 'ENOENT' ? EXIT.notFound : EXIT.notRunnable);
  });
  child.once('exit', (code, signal) => {
    if (code !== null) process.exit(code);
    for (const one of signals) process.off(one, pass);
    const number = signal ? constants.signals[signal] : 0;
    // Later than the signal arrives; the first process of a namespace is not ended by its own.
    setTimeout(() => process.exit(EXIT.signal + number), 100);
    if (signal) process.kill(process.pid, signal);
  });
}
