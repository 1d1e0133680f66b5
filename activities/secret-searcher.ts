// Searches files for secrets with secretlint: a program of its own, because its rules are regular expressions on text
// of others, which may take for ever or all memory. FOLDER is its argument, the files' paths in it come as a JSON list on
// stdin. On stdout, a line each: {"at":[from,to]} before it looks at these files, {"file":i,"rule":"…"} for a finding, and
// {"done":true}. No line ever holds what was found.

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { lintSource } from '@secretlint/core';
import { creator } from '@secretlint/secretlint-rule-preset-recommend';

const RULES = '@secretlint/';
const PRESET = '@secretlint/secretlint-rule-preset-recommend';

const CONFIG = {
  rules: [
    {
      id: PRESET,
      rule: creator,
      options: {},
      rules: [{ id: '@secretlint/secretlint-rule-aws', options: { enableIDScanRule: true } }],
    },
  ],
};

/** Files are looked at in parts of this size, each with the end of the one before: a secret is shorter than that. */
const PART = 256 * 1024;
const OVERLAP = 16 * 1024;

/** Small files are searched together, and one by one where something is found: one search costs as much as 20 KB do. */
const TOGETHER = 64 * 1024;

/** Comments in a file would switch the search off, and the preset does not let its rule for them be left out. */
const withoutOrders = (text: string): string => text.replaceAll('secretlint-', 'secretlint ');

async function search(text: string, json: boolean): Promise<string[]> {
  const { messages } = await lintSource({
    source: {
      content: withoutOrders(text),
      filePath: json ? 'file.json' : 'file.txt',
      ext: json ? '.json' : '.txt',
      contentType: 'text',
    },
    options: { config: CONFIG, maskSecrets: true, noPhysicFilePath: true },
  });
  // secretlint measures itself, and keeps it all.
  performance.clearMarks();
  performance.clearMeasures();
  return messages.map(({ ruleId, messageId }) =>
    `${ruleId.startsWith(RULES) ? ruleId.slice(RULES.length) : ruleId} ${messageId ?? ''}`.trim(),
  );
}

/** A file in parts; the text of UTF-16 too. */
function* partsOf(path: string): Generator<string> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(PART, size));
    let encoding: BufferEncoding = 'utf8';
    for (let at = 0; at < size; at += PART - OVERLAP) {
      const read = readSync(fd, buffer, 0, buffer.length, at);
      const bytes = buffer.subarray(0, read);
      if (at === 0 && bytes[0] === 0xff && bytes[1] === 0xfe) encoding = 'utf16le';
      yield bytes.toString(encoding);
      if (at + read >= size) return;
    }
  } finally {
    closeSync(fd);
  }
}

const say = (line: object): void => {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
};

const isJson = (path: string): boolean => path.toLowerCase().endsWith('.json');

async function one(files: readonly string[], index: number): Promise<void> {
  const path = files[index] ?? '';
  for (const part of partsOf(join(folder, path))) {
    const [rule] = await search(part, isJson(path));
    if (rule === undefined) continue;
    say({ file: index, rule });
    return;
  }
}

/** Looks at the files `from` to `to` at once, and one by one when there is something in them. */
async function some(files: readonly string[], from: number, to: number): Promise<void> {
  say({ at: [from, to] });
  const texts = files.slice(from, to).flatMap((path) => [...partsOf(join(folder, path))]);
  if ((await search(texts.join('\n'), false)).length > 0)
    for (let index = from; index < to; index++) await one(files, index);
}

async function all(files: readonly string[], together: number): Promise<void> {
  let from = 0;
  let length = 0;
  for (const [index, path] of files.entries()) {
    const { size } = lstatSync(join(folder, path));
    const alone = together === 0 || size > together || isJson(path);
    if (from < index && (alone || length + size > together)) {
      await some(files, from, index);
      from = index;
      length = 0;
    }
    length += size;
    if (!alone) continue;
    say({ at: [index, index + 1] });
    await one(files, index);
    from = index + 1;
    length = 0;
  }
  if (from < files.length) await some(files, from, files.length);
}

const [folder = '', together = ''] = process.argv.slice(2);
await all(JSON.parse(readFileSync(0, 'utf8')) as string[], together === 'one-by-one' ? 0 : TOGETHER);
say({ done: true });
