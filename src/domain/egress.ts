// What an agent may reach of the network: a list of names in signalbox.yaml, and the rule that a name passes it. What a
// name stands for is checked at each connection by the proxy (activities/egress).

import { z } from 'zod';
import { parseAddress, parseRange } from './addresses.js';
import { Name } from './fields.js';
import type { SecretProblem } from './secrets.js';

const DEFAULT_PORTS = [443, 80];

export type Host = { kind: 'name'; name: string } | { kind: 'address'; address: string };

/**
 * A host as it stands in a URL: the name in lower case, in ASCII (punycode), without the dot at its end. Whatever a
 * system would take for an address (decimal, octal, hex, too few parts, full-width digits, brackets) is an address here
 * too. Undefined for what is neither.
 */
export function readHost(text: string): Host | undefined {
  if (text.length === 0 || text.length > 1_000) return undefined;
  if (parseAddress(text)) return { kind: 'address', address: text };
  if (/^\[[^\]]*\]$/.test(text)) return { kind: 'address', address: text.slice(1, -1) };
  if (/[\s/\\?#@%:[\]\u0000-\u001f]/.test(text)) return undefined;
  let host: string;
  try {
    host = new URL(`http://${text}/`).hostname;
  } catch {
    // A last label of digits makes it an address that is none: 1.2.3.4.5, 256.0.0.1.
    return /(?:^|\.)(?:0x[0-9a-f]*|\d+)\.?$/i.test(text) ? { kind: 'address', address: text } : undefined;
  }
  if (parseAddress(host)) return { kind: 'address', address: host };
  const name = host.endsWith('.') ? host.slice(0, -1) : host;
  const labels = name.split('.');
  return name.length <= 253 && labels.every((label) => /^[a-z0-9_-]{1,63}$/.test(label))
    ? { kind: 'name', name }
    : undefined;
}

interface Entry {
  /** Only names below this one. */
  below: boolean;
  name: string;
  port?: number;
}

/** Reads an entry that names or names below a name; a sentence when it is not one. */
function readEntry(text: string): Entry | string {
  const [, star, rest = '', digits] = /^(\*\.)?(.*?)(?::(\d+))?$/s.exec(text) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  const bare = star ? rest : parseAddress(text) ? text : rest;
  const host = readHost(bare);
  if (host?.kind === 'address')
    return 'is an address: only names can be allowed, as in "api.example.com"; what a name stands for is looked up and checked at each connection';
  if (!host)
    return 'is not a name such as "api.example.com", "*.example.com" (all names below it, not itself) or "api.example.com:8443"';
  if (port !== undefined && (port < 1 || port > 65_535)) return `has the port ${port}: ports are 1 to 65535`;
  const reserved = reservedName(host.name);
  if (reserved !== undefined) return reserved;
  return { below: star !== undefined, name: host.name, ...(port === undefined ? {} : { port }) };
}

/** Names that never lead to the public internet, and those under which clouds hand out credentials. */
function reservedName(name: string): string | undefined {
  const never = [
    'localhost',
    'localdomain',
    'local',
    'lan',
    'internal',
    'home.arpa',
    'metadata.goog',
    'onion',
  ].find((zone) => name === zone || name.endsWith(`.${zone}`));
  if (never !== undefined)
    return `can never be allowed: names in "${never}" belong to this host, its network or its cloud`;
  return name.includes('.') ? undefined : 'is not a full name: it needs a dot, as in "api.example.com"';
}

const entryText = ({ below, name, port }: Entry): string =>
  `${below ? '*.' : ''}${name}${port === undefined ? '' : `:${port}`}`;

const entryField = (below: boolean) =>
  z
    .string()
    .superRefine((text, ctx) => {
      const entry = readEntry(text);
      if (typeof entry === 'string') ctx.addIssue({ code: 'custom', message: entry });
      else if (entry.below && !below)
        ctx.addIssue({ code: 'custom', message: 'must be one name: a key goes to no "*"' });
      else if (!below && entry.port === 80)
        ctx.addIssue({ code: 'custom', message: 'has the port of plain http: keys go out as https' });
    })
    .transform((text) => {
      const entry = readEntry(text);
      return typeof entry === 'string' ? text : entryText(entry);
    });

/** Headers that frame a message or belong to one connection: no key is sent in them. */
const NOT_FOR_KEYS =
  /^(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*)$/;

const Key = z.strictObject({
  host: entryField(false).describe(
    'The host that gets the key, one name of `allow`. The agent calls http://HOST/…; the proxy makes https of it, verifies the certificate and puts the key in.',
  ),
  header: z
    .string()
    .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, 'the name of a header, such as "authorization"')
    .transform((header) => header.toLowerCase())
    .refine((header) => !NOT_FOR_KEYS.test(header), 'is a header of the connection: a key cannot be in it')
    .describe('The header the key is sent in. What the agent sends under this name is dropped.'),
  value: z
    .string()
    .max(1_000)
    .regex(/^[\x20-\x7e]*\{secret\}[\x20-\x7e]*$/, 'text with {secret} in it, such as "Bearer {secret}"')
    .default('{secret}')
    .describe("The header's value; {secret} is the secret."),
  secret: Name.describe(
    'The name of a secret under `secrets`. Its value stays with the worker; the agent never has it.',
  ),
});
export type Key = z.infer<typeof Key>;

const AllowList = z
  .strictObject({
    allow: z
      .array(entryField(true))
      .min(1)
      .max(500)
      .describe(
        'Names the agent may connect to: "api.example.com", "*.example.com" (all names below it, not itself), ":8443" after it for another port than 443 and 80. No addresses. Names that lead to private addresses are refused.',
      ),
    keys: z
      .array(Key)
      .max(100)
      .default([])
      .describe(
        'Keys that the proxy adds to requests, so that the agent has none. For hosts that do not send back what headers they got.',
      ),
  })
  .superRefine(({ allow, keys }, ctx) => {
    const seen = new Set<string>();
    for (const [i, { host, header }] of keys.entries()) {
      const { name, port } = parsed(host);
      if (!allowedBy(allow, name, port ?? 443))
        ctx.addIssue({
          code: 'custom',
          path: ['keys', i, 'host'],
          message: `${host}${port === undefined ? ' with port 443' : ''} is not in \`allow\`: add it there`,
        });
      const one = `${name}:${port ?? 443} ${header}`;
      if (seen.has(one))
        ctx.addIssue({
          code: 'custom',
          path: ['keys', i],
          message: `${host} has another key in the header "${header}" already`,
        });
      seen.add(one);
    }
  });
export type AllowList = z.infer<typeof AllowList>;

export const Network = z
  .union([z.enum(['none', 'host']), AllowList])
  .describe(
    'What the agent reaches of the network. `none`: only its own loopback. `{ allow: [names], keys: […] }`: these names, through a proxy of its own. `host`: everything its host reaches, loopback and private networks included.',
  );
export type Network = z.infer<typeof Network>;

/** Keys whose secret is not there: `at` is the place of the network, `known` are the names under `secrets`. */
export function keyProblems(
  at: (string | number)[],
  network: Network,
  known: readonly string[],
): SecretProblem[] {
  if (typeof network === 'string') return [];
  return network.keys.flatMap(({ secret }, i) =>
    known.includes(secret)
      ? []
      : {
          path: [...at, 'keys', i, 'secret'],
          message: `no secret is called "${secret}"; ${known.length > 0 ? `there are: ${known.join(', ')}` : 'list it under `secrets`'}`,
          params: { candidates: [...known], found: secret },
        },
  );
}

/** Ranges of the operator's own networks: an address or a range such as 10.1.0.0/16. */
export const Reachable = z
  .array(
    z.string().superRefine((text, ctx) => {
      const range = parseRange(text);
      const least = range?.bytes.length === 4 ? 8 : 16;
      if (!range)
        ctx.addIssue({
          code: 'custom',
          message: 'is not an address or a range such as "10.1.2.3" or "10.1.0.0/16"',
        });
      else if (range.bits < least)
        ctx.addIssue({ code: 'custom', message: `is too wide: at least /${least}` });
    }),
  )
  .describe(
    "Addresses of the operator's own networks that allowed names may lead to, such as a package mirror's. Any allowed name may then, so allow no names of strangers beside them.",
  );

/** An entry that the schema has passed. */
function parsed(text: string): Entry {
  const entry = readEntry(text);
  if (typeof entry === 'string') throw new Error(`"${text}" ${entry}`);
  return entry;
}

/** Whether a name of this port passes the list. An address never does. */
export function allowedBy(allow: readonly string[], host: string, port: number): boolean {
  const read = readHost(host);
  if (read?.kind !== 'name') return false;
  const { name } = read;
  return allow.map(parsed).some((entry) => {
    const named = entry.below ? name.endsWith(`.${entry.name}`) : name === entry.name;
    return named && (entry.port === undefined ? DEFAULT_PORTS.includes(port) : port === entry.port);
  });
}

/**
 * The keys for a plain request to this host and port, and the port it is sent on to with TLS; undefined when it gets
 * none. A key without a port is for http://HOST/ and goes to 443.
 */
export function keysFor(
  keys: readonly Key[],
  host: string,
  port: number,
): { port: number; keys: Key[] } | undefined {
  const read = readHost(host);
  if (read?.kind !== 'name') return undefined;
  const to = DEFAULT_PORTS.includes(port) ? 443 : port;
  const found = keys.filter((key) => {
    const entry = parsed(key.host);
    return entry.name === read.name && (entry.port ?? 443) === to;
  });
  return found.length === 0 ? undefined : { port: to, keys: found };
}
