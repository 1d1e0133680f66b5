// What an agent reaches of the network from its workstation; what its proxy refuses is in egress.test.ts, case by case.
// Each case was seen to fail with its defence taken out; the list is in defences.txt beside this file.

import { createServer as createWeb } from 'node:http';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { attack, attackedHost, probe } from '../support/attacker.js';
import { listen } from '../support/egress.js';

const host = attackedHost();
const servers: Server[] = [];
let port = 0;
let reached: string[] = [];

/** Services of the host: on its loopback, on all its addresses, on an abstract socket and on one with a path. */
beforeAll(async () => {
  if ('missing' in probe) return;
  const service = createWeb((request, response) => {
    reached.push(`${request.method} ${request.url}`);
    response.end(host().canary);
  });
  port = await listen(service, '0.0.0.0');
  servers.push(service);
  for (const path of ['\0signalbox-host', join(host().home, 'host.sock')]) {
    const server = createServer((socket) => {
      reached.push(path);
      socket.end(host().canary);
    });
    server.listen(path);
    servers.push(server);
  }
});
afterAll(() => {
  for (const server of servers) server.close();
});

const CONNECT = `const { connect } = require("net");
  const tell = (where) => new Promise((done) => { const socket = connect(where); socket.setTimeout(1500, () => socket.destroy());
    socket.on("connect", () => { console.log("CONNECTED", JSON.stringify(where)); socket.write("GET / HTTP/1.0\\r\\n\\r\\n"); });
    socket.on("data", (data) => console.log(String(data))); socket.on("error", (error) => console.log(error.code)); socket.on("close", done); });`;

const addresses = () =>
  Object.values(networkInterfaces()).flatMap((found) => (found ?? []).map(({ address }) => address));

describe('without a network an agent reaches', () => {
  attack('no port of the host, of another agent, and no metadata service', async () => {
    reached = [];
    const all = JSON.stringify([
      '127.0.0.1',
      '::1',
      'localhost',
      '169.254.169.254',
      '10.0.0.1',
      '1.1.1.1',
      ...addresses(),
    ]);
    const { output } = await host().attack(
      `"$NODE" -e '${CONNECT} (async () => { for (const host of ${all}) for (const port of [${port}, 3000, 22, 80]) await tell({ host, port }); })()'; cat /proc/net/tcp /proc/net/dev; echo the end`,
    );
    expect(output).toContain('the end');
    expect(output).not.toContain('CONNECTED');
    expect(output.match(/^ *\w+:/gm)?.map((line) => line.trim())).toContain('lo:');
    for (const name of Object.keys(networkInterfaces()).filter((name) => name !== 'lo'))
      expect(output).not.toContain(`${name}:`);
    expect(reached).toEqual([]);
  });

  attack('no socket of the host or of another agent, abstract or by its path', async () => {
    reached = [];
    const { output } = await host().attack(
      `"$NODE" -e '${CONNECT} (async () => { for (const path of ["\\0signalbox-host", "\\0signalbox-bystander", "${host().home}/host.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/w/proxy.sock"]) await tell({ path }); })()'; cat /proc/net/unix; echo the end`,
    );
    expect(output).toContain('the end');
    expect(output).not.toMatch(/CONNECTED|signalbox-/);
    expect(reached).toEqual([]);
  });

  attack('no name', async () => {
    const { output } = await host().attack(
      `"$NODE" -e 'require("dns").lookup("example.com", (error) => console.log("lookup", error && error.code)); require("dns").resolve4("example.com", (error) => console.log("resolve", error && error.code))'`,
    );
    expect(output).toMatch(/lookup E/);
    expect(output).toMatch(/resolve E/);
  });
});

attack('two agents, and the bystander, all have port 3000', async () => {
  const serve = (own: string) =>
    `"$NODE" -e 'const http = require("http"); http.createServer((_, response) => response.end("${own}")).listen(3000, "127.0.0.1", () => http.get("http://127.0.0.1:3000", (answer) => answer.on("data", (data) => { console.log("got " + data); setTimeout(() => process.exit(), 800); })))'`;
  const both = await Promise.all(
    ['one', 'two'].map((own) => host().attack(serve(own), { task: `p/${own}` })),
  );
  expect(both.map(({ output }) => output)).toEqual(['got one\n', 'got two\n']);
});

describe('with a network of names it reaches', () => {
  attack(
    'through its proxy neither loopback, nor private and metadata addresses, and by no other way anything',
    async () => {
      reached = [];
      const ask = `const ask = (text) => new Promise((done) => { const socket = connect(3128, "127.0.0.1"); let said = ""; socket.setTimeout(3000, () => socket.destroy()); socket.on("data", (data) => (said += data)); socket.on("error", () => undefined); socket.on("close", () => { console.log(text.split("\\r")[0], "->", said.split("\\r")[0]); done(); }); socket.write(text); });`;
      const targets = [
        ...[
          '127.0.0.1',
          'localhost',
          '[::1]',
          '2130706433',
          '0x7f.1',
          '0.0.0.0',
          '[::ffff:127.0.0.1]',
          '127.1',
          ...addresses().filter((address) => !address.includes(':')),
        ].map((name) => `${name}:${port}`),
        ...[
          '169.254.169.254:80',
          'metadata.google.internal:80',
          '10.0.0.1:80',
          '[fe80::1]:80',
          'example.org:80',
        ],
      ];
      const { output, refused } = await host().attack(
        `"$NODE" -e '${CONNECT} ${ask} (async () => { for (const target of ${JSON.stringify(targets)}) { await ask("CONNECT " + target + " HTTP/1.1\\r\\nHost: " + target + "\\r\\n\\r\\n"); await ask("GET http://" + target + "/ HTTP/1.1\\r\\nHost: ok.example\\r\\nConnection: close\\r\\n\\r\\n"); } await tell({ host: "127.0.0.1", port: ${port} }); })()'; echo the end`,
        { rules: { network: { allow: [`localhost:${port}`, '*.internal', 'ok.example'], keys: [] } } },
      );
      expect(output).toContain('the end');
      expect(output).not.toContain('CONNECTED');
      expect(output.split('\n').filter((line) => / -> /.test(line))).toHaveLength(2 * targets.length);
      expect(output).not.toMatch(/-> HTTP\/1\.[01] 2/);
      expect(refused?.length).toBeGreaterThan(5);
      expect(reached).toEqual([]);
    },
  );

  attack('not the socket of the proxy after its end, and not that of another agent', async () => {
    const rules = { network: { allow: ['ok.example'], keys: [] } };
    const first = await host().attack(
      'ls -l /w/proxy.sock; rm -f /w/proxy.sock; ls /w/proxy.sock; ls /tmp; echo the end',
      { rules },
    );
    expect(first.output).toMatch(/proxy\.sock\nthe end|proxy\.sock\n.*the end/s);
    expect(first.output).not.toContain('signalbox-net-');
  });
});
