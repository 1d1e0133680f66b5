// The rules of `network:` in signalbox.yaml: which names can be allowed, what passes the list, which addresses are nobody's
// business of an agent.

import { BlockList } from 'node:net';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { forbiddenAddress, parseAddress, parseRange } from '../src/domain/addresses.js';
import { allowedBy, keyProblems, keysFor, Network, Reachable, readHost } from '../src/domain/egress.js';
import { problemsOf, problemText } from '../src/domain/problems.js';

const said = (input: unknown): string[] => {
  const result = Network.safeParse(input);
  return result.success
    ? []
    : problemsOf(result.error, Network, input).map((problem) => problemText(problem));
};
const lists = (input: unknown) => {
  const network = Network.parse(input);
  if (typeof network === 'string') throw new Error('not a list');
  return network;
};

describe('network in the config', () => {
  it('is none, host or a list, and an unknown word or key is told so', () => {
    expect([Network.parse('none'), Network.parse('host')]).toEqual(['none', 'host']);
    expect(said('all')).toEqual(['expected one of "none", "host" (found "all")']);
    expect(said({ alow: ['a.example.com'] }).join()).toMatch(
      /allow: is missing.*unknown key "alow".*did you mean "allow"/,
    );
    expect(said({ allow: [] })).toEqual(['allow: must not be empty (found [])']);
  });

  it('has names in one way of writing, whatever way they were written in', () => {
    const { allow } = lists({
      allow: ['API.Example.COM.', '*.Bücher.example', 'api.example.com:8443', '*.例え.jp.:8080'],
    });
    expect(allow).toEqual([
      'api.example.com',
      '*.xn--bcher-kva.example',
      'api.example.com:8443',
      '*.xn--r8jz45g.jp:8080',
    ]);
    expect(lists({ allow }).allow).toEqual(allow);
  });

  it.each([
    '10.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '[::1]',
    '[::1]:443',
    '::1',
    '1.2.3.4:80',
    '*.1.2.3.4',
    '１２７.0.0.1',
  ])('refuses the address %s with what to do instead', (entry) => {
    expect(said({ allow: [entry] }).join()).toMatch(
      /^allow\[0\]: is an address: only names can be allowed, as in "api.example.com"/,
    );
  });

  it.each([
    ['localhost', 'can never be allowed: names in "localhost" belong to this host'],
    ['a.localhost', 'can never be allowed'],
    ['printer.local', 'can never be allowed'],
    ['metadata.google.internal', 'can never be allowed: names in "internal" belong'],
    ['*.internal', 'can never be allowed'],
    ['metadata.goog:80', 'can never be allowed'],
    ['intranet', 'is not a full name'],
    ['*.com', 'is not a full name'],
    ['*', 'is not a name'],
    ['a.*.example.com', 'is not a name'],
    ['*example.com', 'is not a name'],
    ['https://api.example.com', 'is not a name'],
    ['api.example.com/path', 'is not a name'],
    ['api.example.com:0', 'has the port 0'],
    ['api.example.com:65536', 'has the port 65536'],
    ['a..example.com', 'is not a name'],
    ['', 'is not a name'],
  ])('refuses %s: %s', (entry, why) => {
    expect(said({ allow: ['ok.example.com', entry] }).join()).toContain(`allow[1]: ${why}`);
  });

  it('has keys for allowed names only, in a header of their own', () => {
    const key = { host: 'api.example.com', header: 'Authorization', value: 'Bearer {secret}', secret: 'KEY' };
    const list = (more: object, allow = ['api.example.com']) =>
      said({ allow, keys: [{ ...key, ...more }] }).join();
    expect(list({})).toBe('');
    expect(list({ host: 'other.example.com' })).toContain(
      'keys[0].host: other.example.com with port 443 is not in `allow`',
    );
    expect(list({}, ['api.example.com:80'])).toContain('is not in `allow`');
    expect(list({ host: '*.example.com' }, ['*.example.com'])).toContain('must be one name');
    expect(list({ host: 'api.example.com:80' })).toContain('has the port of plain http');
    expect(list({ value: 'Bearer' })).toContain('text with {secret} in it');
    expect(list({ value: 'a\r\nb: {secret}' })).toContain('text with {secret} in it');
    expect(list({ header: 'Content-Length' })).toContain('is a header of the connection');
    expect(list({ header: 'a b' })).toContain('the name of a header');
    expect(
      said({ allow: ['api.example.com'], keys: [key, { ...key, header: 'authorization' }] }).join(),
    ).toContain('has another key in the header "authorization" already');
  });

  it('has no key of a secret that is not there', () => {
    const network = Network.parse({
      allow: ['a.example.com'],
      keys: [{ host: 'a.example.com', header: 'x-api-key', secret: 'model-key' }],
    });
    expect(keyProblems(['agents', 'coder', 'network'], network, ['model-key'])).toEqual([]);
    expect(keyProblems(['agents', 'coder', 'network'], network, ['other'])).toMatchObject([
      {
        path: ['agents', 'coder', 'network', 'keys', 0, 'secret'],
        message: 'no secret is called "model-key"; there are: other',
      },
    ]);
    expect(keyProblems([], 'host', [])).toEqual([]);
  });

  it('has a JSON Schema for editors', () => {
    expect(JSON.stringify(z.toJSONSchema(Network, { io: 'input' }))).toContain('"allow"');
  });

  it('names ranges of own networks that are not the whole of them', () => {
    expect(Reachable.safeParse(['10.1.2.3', '10.1.0.0/16', 'fd12::/48']).success).toBe(true);
    for (const bad of ['0.0.0.0/0', '::/0', '10.0.0.0/33', '10.0.0/8', 'mirror.example.com', '127.1'])
      expect(Reachable.safeParse([bad]).success, bad).toBe(false);
  });
});

describe('allowedBy', () => {
  it.each([
    ['api.example.com', 443, true],
    ['api.example.com', 80, true],
    ['api.example.com', 8080, false],
    ['API.EXAMPLE.COM.', 443, true],
    ['x.api.example.com', 443, false],
    ['api.example.com.evil.org', 443, false],
    ['evilapi.example.com', 443, false],
    ['wild.org', 443, false],
    ['a.wild.org', 443, true],
    ['a.b.wild.org', 443, true],
    ['awild.org', 443, false],
    ['.wild.org', 443, false],
    ['bücher.example', 8443, true],
    ['xn--bcher-kva.example', 8443, true],
    ['bücher.example', 443, false],
    ['api.example.com\u0000.evil.org', 443, false],
    ['127.0.0.1', 443, false],
    ['', 443, false],
  ])('%s, port %i: %s', (host, port, expected) => {
    expect(allowedBy(['api.example.com', '*.wild.org', 'xn--bcher-kva.example:8443'], host, port)).toBe(
      expected,
    );
  });

  it('sends plain requests for a host with a key to its port for https', () => {
    const { keys } = lists({
      allow: ['a.example.com', 'b.example.com:8443'],
      keys: [
        { host: 'a.example.com', header: 'x-api-key', secret: 'A' },
        { host: 'b.example.com:8443', header: 'x-api-key', secret: 'B' },
      ],
    });
    expect(keysFor(keys, 'A.example.com.', 80)).toMatchObject({ port: 443, keys: [{ secret: 'A' }] });
    expect(keysFor(keys, 'b.example.com', 8443)).toMatchObject({ port: 8443, keys: [{ secret: 'B' }] });
    for (const [host, port] of [
      ['a.example.com', 8080],
      ['b.example.com', 80],
      ['c.example.com', 80],
    ] as const)
      expect(keysFor(keys, host, port)).toBeUndefined();
  });

  it('takes for a name only what no system takes for an address', () => {
    for (const text of ['1.2.3.4', '1.2.3', '0x1', '1e.0x2', '08.8', '[::1]', '::', '1.2.3.4.5', '256.0.0.1'])
      expect(readHost(text)?.kind, text).toBe('address');
    for (const text of ['a b', 'a/b', 'a@b', 'a:1', '%61.com', '', '.', 'a..b', 'a'.repeat(64), 'xn--\u0000'])
      expect(readHost(text), text).toBeUndefined();
    expect(readHost('1.2.3.4.example.com')).toEqual({ kind: 'name', name: '1.2.3.4.example.com' });
  });
});

describe('forbiddenAddress', () => {
  /** First and last address of what is not public, and the public ones next to them. */
  const OUT =
    `0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.255.255.255 169.254.0.0
    169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0
    192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.0 239.255.255.255 240.0.0.0
    255.255.255.255 100.100.100.200 168.63.129.16 :: ::1 ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::FFFF:10.0.0.1
    ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::8.8.8.8 100::1 2001::1 2001:2::1
    2001:10::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::5 2002:c0a8:101:: 3fff::1 5f00::1 fc00::1 fdff:ffff::1
    fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 4000::1`.split(/\s+/);
  const IN =
    `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
    169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
    2606:4700::1111 2a00:1450:4001::1 2001:200::1 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
    2002:808:808::1 2000::1 3ffe::1`.split(/\s+/);

  it.each(OUT)('%s: refused', (ip) => expect(forbiddenAddress(ip)).toBeTypeOf('string'));
  it.each(IN)('%s: public', (ip) => expect(forbiddenAddress(ip)).toBeUndefined());

  it.each([
    '',
    'x',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.4 ',
    '1.2.3.256',
    'fe80::1%eth0',
    '1::2::3',
    ':1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '::1.2.3',
    '12345::',
    '1:2:3:4:5:6:7::8',
  ])('"%s" is no address', (ip) => expect(forbiddenAddress(ip)).toBe('not an address'));

  it('agrees with the ranges of Node about what lies in a range', () => {
    let state = 42;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let i = 0; i < 3_000; i++) {
      const v4 = i % 2 === 0;
      const base = Array.from({ length: v4 ? 4 : 8 }, () => random(v4 ? 256 : 65_536));
      const near = base.map((part, at) =>
        random(base.length) === at ? part ^ (1 << random(v4 ? 8 : 16)) : part,
      );
      const text = (parts: number[]) =>
        v4 ? parts.join('.') : parts.map((part) => part.toString(16)).join(':');
      const bits = random(v4 ? 33 : 129);
      const list = new BlockList();
      list.addSubnet(text(base), bits, v4 ? 'ipv4' : 'ipv6');
      const range = parseRange(`${text(base)}/${bits}`);
      if (!range) throw new Error('a range');
      // Own networks are let through wherever the range has the address; metadata addresses are not hit by chance.
      const own = forbiddenAddress(text(near), { reachable: [range], own: [text(near)] }) === undefined;
      const lifted = list.check(text(near), v4 ? 'ipv4' : 'ipv6');
      expect(own, `${text(near)} in ${text(base)}/${bits}`).toBe(lifted);
    }
  });

  it('lets own networks through as they are written, a metadata service never', () => {
    const reachable = ['10.1.0.0/16', '169.254.0.0/16', '127.0.0.5', '100.100.0.0/16'].flatMap(
      (text) => parseRange(text) ?? [],
    );
    const why = (ip: string) => forbiddenAddress(ip, { reachable });
    expect([why('10.1.2.3'), why('127.0.0.5'), why('169.254.1.1')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(why('10.2.0.1')).toBe('private');
    expect(why('::ffff:10.1.2.3')).toBe('private, in an IPv4-mapped address');
    expect([why('169.254.169.254'), why('100.100.100.200')].every((text) => text?.includes('metadata'))).toBe(
      true,
    );
  });

  it('refuses the public addresses of the very host', () => {
    const own = ['8.8.8.8', '2606:4700:0::1'];
    for (const ip of ['8.8.8.8', '::ffff:8.8.8.8', '2606:4700::1'])
      expect(forbiddenAddress(ip, { own }), ip).toMatch(/^an address of the very host/);
    expect(forbiddenAddress('8.8.4.4', { own })).toBeUndefined();
    const reachable = [parseRange('8.8.8.8')].flatMap((range) => range ?? []);
    expect(forbiddenAddress('8.8.8.8', { own, reachable })).toBeUndefined();
  });

  it('reads addresses as the system prints them', () => {
    expect(parseAddress('1:2::8')).toEqual([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
    expect(parseAddress('::')).toEqual(new Array(16).fill(0));
    expect(parseAddress('64:ff9b::1.2.3.4')?.slice(12)).toEqual([1, 2, 3, 4]);
  });
});
