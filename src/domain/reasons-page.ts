// docs/reasons.md: every reason code by kind, with its sentence. Made from reasons.ts, so that it cannot say anything else.

import { type Evidence, KINDS, REASONS, type ReasonCode } from './reasons.js';

const TITLES: Record<keyof typeof KINDS, [string, string]> = {
  allow: ['Allow', 'The task runs, goes on or lands.'],
  hold: ['Hold', 'The task waits. It is looked at again when what it waits for changes.'],
  retry: [
    'Retry',
    'The attempt came to nothing. Another one follows, unless the task has used up its attempts: then the same code is that of its end.',
  ],
  cancel: ['Cancel', 'The task is called off: its agent is ended first, and only then its paths are free.'],
  peer: [
    'Peering',
    'What a task may see of another one, see [peering](peering.md). Nothing else about either changes.',
  ],
  end: ['End', 'The task has come to its end by itself.'],
};

/** Evidence that answers every question with the name of what was asked for. */
const named = new Proxy<Evidence>({} as Evidence, {
  get: (_, name) => ({
    toString: () => `‹${String(name)}›`,
    slice: () => `‹${String(name)}›`,
    join: () => `‹${String(name)}›`,
  }),
});

const sentence = (code: ReasonCode): string => (REASONS[code] as (evidence: Evidence) => string)(named);

/** The whole page, in Markdown. */
export function reasonsPage(): string {
  const parts = (Object.keys(KINDS) as (keyof typeof KINDS)[]).flatMap((kind) => {
    const [title, text] = TITLES[kind];
    const codes = Object.keys(KINDS[kind]) as ReasonCode[];
    return ['', `## ${title}`, '', text, '', ...codes.map((code) => `- \`${code}\`: ${sentence(code)}`)];
  });
  return `${[
    '# Reason codes',
    '',
    'Made from `src/domain/reasons.ts` by `npm run reasons`; do not edit.',
    '',
    'Every decision has one of these codes, which programs and search attributes use, and evidence that fills in the sentence',
    'for people. `signalbox why TASK` shows them in order; the change packet keeps them.',
    ...parts,
  ].join('\n')}\n`;
}
