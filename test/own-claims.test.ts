// What a task's workflow does with requests about its claims and with the coordinator's answers.

import { describe, expect, test } from 'vitest';
import type { Standing } from '../src/domain/messages.js';
import { OwnClaims } from '../src/domain/own-claims.js';

const may = () => undefined;
const answers = (number: number, answer: 'waiting' | 'granted' | 'refused' | 'retry') =>
  ({
    extension: { number, answer, paths: [], evidence: { holder: 's/b', held: 'b', path: 'b/x' } },
  }) as unknown as Standing;

describe('a request for more paths', () => {
  test('is asked one at a time, normalised, and grows the claims when it is granted', () => {
    const claims = new OwnClaims(['a'], undefined);
    expect(claims.ask({ id: '1', paths: ['./b//x', 'b/x'], wait: true }, may)).toBe(true);
    expect(claims.ask({ id: '2', paths: ['c'] }, may), 'it waits its turn').toBe(false);
    expect(claims.extend).toEqual({ number: 1, paths: ['b/x'], wait: true });
    expect(claims.hear(answers(1, 'waiting'))).toBe(false);
    expect(claims.answerTo('1')).toMatchObject({ answer: 'waiting', holder: 's/b' });
    expect(claims.hear(answers(1, 'granted'))).toBe(true);
    expect([claims.writes, claims.extend]).toEqual([['a', 'b/x'], { number: 2, paths: ['c'], wait: false }]);
    expect(claims.hear(answers(1, 'granted')), 'an answer to an earlier one is void').toBe(false);
    claims.hear(answers(2, 'refused'));
    expect(claims.answerTo('2')).toMatchObject({
      answer: 'refused',
      text: 'b/x overlaps b, held by s/b',
      writes: ['a', 'b/x'],
    });
  });

  test('is withdrawn by whoever goes without', () => {
    const claims = new OwnClaims(['a'], undefined);
    claims.ask({ id: '1', paths: ['b'], wait: true }, may);
    expect(claims.goWithout('1')).toBe(true);
    expect(claims.extend).toBeUndefined();
    expect(claims.hear(answers(1, 'granted'))).toBe(false);
    expect(claims.writes).toEqual(['a']);
  });

  test('that cannot be understood, or comes at the wrong time, is refused and says why', () => {
    const claims = new OwnClaims(['a'], undefined);
    for (const paths of [undefined, [], ['../x'], ['/etc']]) {
      expect(claims.ask({ id: `bad ${paths}`, paths }, may)).toBe(false);
      expect(claims.answerTo(`bad ${paths}`)?.answer).toBe('refused');
    }
    expect(claims.ask({ id: 'late', paths: ['b'], fence: '1.1' }, (fence) => `${fence} is over`)).toBe(false);
    expect(claims.answerTo('late')?.text).toBe('1.1 is over');
    for (const nobody of [undefined, 'x', {}, { id: 7, paths: ['b'] }])
      expect(claims.ask(nobody, may)).toBe(false);
  });

  test('that ends the attempt adds its paths for the next one, once the agent was seen to end', () => {
    for (const dead of [true, false]) {
      const claims = new OwnClaims(['a'], undefined);
      claims.ask({ id: '1', paths: ['b'], wait: true }, may);
      claims.ask({ id: '2', paths: ['c'] }, may);
      claims.hear(answers(1, 'retry'));
      expect(claims.over(dead), 'its work is gone on with').toBe(true);
      expect(claims.writes).toEqual(dead ? ['a', 'b'] : ['a']);
      expect([claims.extend, claims.answerTo('2')?.answer]).toEqual([undefined, 'refused']);
      expect(claims.over(true)).toBe(false);
    }
  });
});

describe('a request to give back', () => {
  test('takes the claims that are named, and those below a path', () => {
    const claims = new OwnClaims(['./src/a', 'src/b', 'docs', ':(glob)src/*.ts'], undefined);
    expect(claims.giveBack({ id: '1', paths: ['src/'] }, may)).toBe(true);
    expect(claims.writes).toEqual(['docs', ':(glob)src/*.ts']);
    expect(claims.giveBack({ id: '2', paths: ['docs/x'] }, may), 'no part of a claim').toBe(false);
    expect(claims.answerTo('2')?.text).toContain('can give back only that: not docs/x');
  });
});

test('what is claimed is carried over', () => {
  const claims = new OwnClaims(['a'], undefined);
  expect(claims.changed).toBe(false);
  claims.ask({ id: '1', paths: ['b'] }, may);
  claims.hear(answers(1, 'granted'));
  const next = new OwnClaims(['a'], JSON.parse(JSON.stringify(claims.carry())));
  expect([next.writes, next.answerTo('1')?.answer]).toEqual([['a', 'b'], 'granted']);
  next.ask({ id: '2', paths: ['c'] }, may);
  expect(next.extend?.number, 'a number is never used again').toBe(2);
});
