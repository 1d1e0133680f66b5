// Which addresses are nobody's business of an agent: everything that is not the public internet. Worked out on the
// bytes, so that no second way of writing an address gets past; after the special-purpose registries of IANA.

/** The bytes of an address as systems print it: 4 or 16; undefined for anything else, a zone included. */
export function parseAddress(text: string): readonly number[] | undefined {
  return text.includes(':') ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part))) return undefined;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : undefined;
}

function parseV6(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, i) => groups(half, i === halves.length - 1));
  if (!head) return undefined;
  if (halves.length === 1) return head.length === 16 ? head : undefined;
  if (!tail || head.length + tail.length > 14) return undefined;
  return [...head, ...new Array<number>(16 - head.length - tail.length).fill(0), ...tail];
}

/** Groups of four hex digits; the last may be an IPv4 address. */
function groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      const value = Number.parseInt(part, 16);
      bytes.push(value >> 8, value & 255);
      continue;
    }
    const v4 = last && i === parts.length - 1 ? parseV4(part) : undefined;
    if (!v4) return undefined;
    bytes.push(...v4);
  }
  return bytes;
}

export interface AddressRange {
  bytes: readonly number[];
  bits: number;
}

/** `10.1.2.3` or `10.1.0.0/16`; undefined for anything else. */
export function parseRange(text: string): AddressRange | undefined {
  const [address = '', length, ...more] = text.split('/');
  const bytes = parseAddress(address);
  if (!bytes || more.length > 0) return undefined;
  if (length === undefined) return { bytes, bits: bytes.length * 8 };
  if (!/^\d{1,3}$/.test(length) || Number(length) > bytes.length * 8) return undefined;
  return { bytes, bits: Number(length) };
}

function within(address: readonly number[], { bytes, bits }: AddressRange): boolean {
  if (address.length !== bytes.length) return false;
  return bytes.every((byte, i) => {
    const counted = Math.min(8, Math.max(0, bits - i * 8));
    const mask = (0xff << (8 - counted)) & 0xff;
    return (((address[i] ?? 0) ^ byte) & mask) === 0;
  });
}

function table(entries: readonly (readonly [range: string, why: string])[]) {
  return entries.map(([text, why]) => {
    const range = parseRange(text);
    if (!range) throw new Error(`${text} is no range of addresses`);
    return { range, why };
  });
}

const METADATA = table(
  [
    '169.254.169.0/24',
    '169.254.170.0/24',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    'fd00:ec2::/64',
    'fd20:ce::254',
  ].map((range) => [range, "a cloud's metadata service"]),
);

const NOT_PUBLIC = table([
  ['0.0.0.0/8', 'unspecified'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'shared by a carrier (CGNAT)'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved for protocols'],
  ['192.0.2.0/24', 'for documentation'],
  ['192.88.99.0/24', 'a 6to4 relay'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'for benchmarks'],
  ['198.51.100.0/24', 'for documentation'],
  ['203.0.113.0/24', 'for documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['255.255.255.255', 'broadcast'],
  ['240.0.0.0/4', 'reserved'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['fc00::/7', 'unique-local (private)'],
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'site-local (private)'],
  ['ff00::/8', 'multicast'],
  ['2001::/32', 'a Teredo tunnel'],
  ['2001::/23', 'reserved for protocols'],
  ['2001:db8::/32', 'for documentation'],
  ['3fff::/20', 'for documentation'],
]);

/** IPv6 addresses that lead to an IPv4 address: where in them its four bytes are. */
const CARRIERS = [
  { range: '::ffff:0:0/96', at: 12, form: 'IPv4-mapped' },
  { range: '::ffff:0:0:0/96', at: 12, form: 'IPv4-translated' },
  { range: '64:ff9b::/96', at: 12, form: 'NAT64' },
  { range: '2002::/16', at: 2, form: '6to4' },
].flatMap(({ range, at, form }) => {
  const parsed = parseRange(range);
  return parsed ? [{ range: parsed, at, form }] : [];
});

const GLOBAL_V6: AddressRange = { bytes: [0x20, ...new Array<number>(15).fill(0)], bits: 3 };

/** What this host and its operator add to the rules. */
export interface Surroundings {
  /** Ranges of the operator's own networks that may be reached, as they are written. */
  reachable?: readonly AddressRange[];
  /** The host's own addresses: a public one leads past the firewall to what listens on this host. */
  own?: readonly string[];
}

/** Why an agent may not be connected to the address; undefined when it may. No range lifts a cloud's metadata service. */
export function forbiddenAddress(
  ip: string,
  { reachable = [], own = [] }: Surroundings = {},
): string | undefined {
  const address = parseAddress(ip);
  if (!address) return 'not an address';
  const why = notPublic(address, reachable, own);
  if (why !== undefined || address.length === 4) return why;
  const carrier = CARRIERS.find(({ range }) => within(address, range));
  if (!carrier) return undefined;
  const inner = notPublic(address.slice(carrier.at, carrier.at + 4), [], own);
  return inner && `${inner}, in an ${carrier.form} address`;
}

function notPublic(
  address: readonly number[],
  reachable: readonly AddressRange[],
  own: readonly string[],
): string | undefined {
  const listed = (table: typeof NOT_PUBLIC) => table.find(({ range }) => within(address, range))?.why;
  const metadata = listed(METADATA);
  if (metadata !== undefined || reachable.some((range) => within(address, range))) return metadata;
  const why = listed(NOT_PUBLIC);
  if (why !== undefined) return why;
  if (own.some((one) => parseAddress(one)?.join() === address.join()))
    return 'an address of the very host the agent runs on';
  if (address.length === 4 || within(address, GLOBAL_V6)) return undefined;
  return CARRIERS.some(({ range }) => within(address, range)) ? undefined : 'not a public address';
}
