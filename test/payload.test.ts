// How payloads travel: large ones compressed, small ones plain; and what can be read of a history.

import { defaultPayloadConverter, type Payload, type PayloadCodec } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { dataConverter, decoded } from '../src/client/payload.js';

const codec = dataConverter.payloadCodecs?.[0] as PayloadCodec;
const payloadOf = (value: unknown): Payload => defaultPayloadConverter.toPayload(value) as Payload;
const text = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString();
const LARGE = { tasks: Array.from({ length: 5_000 }, (_, i) => ({ id: `plan/t${i}`, writes: ['a.txt'] })) };

describe('a payload', () => {
  it('that is small stays as any client writes and reads it', async () => {
    const payload = payloadOf({ key: 'ABC-1', state: 'closed' });
    expect(await codec.encode([payload])).toEqual([payload]);
    expect(await codec.decode([payload])).toEqual([payload]);
  });

  it('that is large is a tenth as large on its way, and the same at its end', async () => {
    const payload = payloadOf(LARGE);
    const [packed] = await codec.encode([payload]);
    expect(text(packed?.metadata?.encoding)).toBe('binary/gzip');
    expect(packed?.data?.length).toBeLessThan((payload.data?.length ?? 0) / 10);
    const [back] = await codec.decode([packed as Payload]);
    expect(text(back?.metadata?.encoding)).toBe('json/plain');
    expect(defaultPayloadConverter.fromPayload(back as Payload)).toEqual(LARGE);
  });

  it('that others have compressed in a way of their own is left alone', async () => {
    const theirs = { metadata: { encoding: Buffer.from('binary/gzip') }, data: Buffer.from('whatever') };
    expect(await codec.decode([theirs])).toEqual([theirs]);
  });
});

describe('what a history holds', () => {
  it('is read, compressed or not', async () => {
    const [packed] = await codec.encode([payloadOf(LARGE)]);
    expect(decoded(packed)).toEqual(LARGE);
    expect(decoded(payloadOf({ a: 1 }))).toEqual({ a: 1 });
    expect(decoded(undefined)).toBeUndefined();
  });

  it('is nothing where it cannot be read: anybody may have signalled it', () => {
    expect(decoded({ metadata: {}, data: Buffer.from([0xff, 0x00]) })).toBeUndefined();
    const broken = {
      metadata: { encoding: Buffer.from('binary/gzip'), 'signalbox-encoding': Buffer.from('json/plain') },
      data: Buffer.from('no gzip'),
    };
    expect(decoded(broken)).toBeUndefined();
  });
});
