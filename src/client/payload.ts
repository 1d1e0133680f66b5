// Payloads of Temporal's: large ones travel and are stored compressed, for the state of a coordinator with thousands of
// live tasks, or a list of them, is more than the 2 MB that Temporal takes. Small ones stay plain, for clients and eyes
// that know nothing of Signalbox.

import { promisify } from 'node:util';
import { gunzipSync, gzip } from 'node:zlib';
import {
  type DataConverter,
  defaultPayloadConverter,
  type Payload,
  type PayloadCodec,
} from '@temporalio/common';

/** Bytes that are worth it. */
const LEAST = 64 * 1024;
/** Bytes that one payload may become. */
const MOST = 256 * 1024 * 1024;
const ENCODING = 'encoding';
/** In a compressed payload's metadata: the encoding of what is in it. */
const INNER = 'signalbox-encoding';
const GZIP = Buffer.from('binary/gzip');

const compress = promisify(gzip);

/** Payload codec, gzip (RFC 1952). */
class Compression implements PayloadCodec {
  encode(payloads: Payload[]): Promise<Payload[]> {
    return Promise.all(
      payloads.map(async (payload) => {
        const { data, metadata } = payload;
        if (!data || data.length < LEAST) return payload;
        const packed = await compress(data);
        const inner = metadata?.[ENCODING];
        return {
          metadata: { ...metadata, [ENCODING]: GZIP, ...(inner ? { [INNER]: inner } : {}) },
          data: packed,
        };
      }),
    );
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map(unpacked);
  }
}

function unpacked(payload: Payload): Payload {
  const { data, metadata } = payload;
  const inner = metadata?.[INNER];
  if (!data || !inner || !GZIP.equals(metadata?.[ENCODING] ?? Buffer.of())) return payload;
  const { [INNER]: _, ...rest } = metadata ?? {};
  return { metadata: { ...rest, [ENCODING]: inner }, data: gunzipSync(data, { maxOutputLength: MOST }) };
}

const compression = new Compression();

/** For every client and worker of a fleet. */
export const dataConverter: DataConverter = { payloadCodecs: [compression] };

/** A value as the fleet's clients read it. */
export async function encoded(value: unknown): Promise<Payload> {
  const payload = defaultPayloadConverter.toPayload(value);
  const [packed = payload] = await compression.encode([payload]);
  return packed;
}

/**
 * What a history holds, read as the default converter wrote it; undefined when there is nothing, or nothing that can be
 * read so: anybody may signal anything.
 */
export function decoded<T>(payload: Payload | null | undefined): T | undefined {
  try {
    const { data } = payload ? unpacked(payload) : {};
    return data ? (JSON.parse(Buffer.from(data).toString('utf8')) as T) : undefined;
  } catch {
    return undefined;
  }
}
