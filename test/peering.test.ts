// What is never in a snapshot of another task's tree: every entry of the list, in every spelling that some file system
// takes for it; and names that deceive.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { emptyManifest, excludedBy, leaveOut, shownPath } from '../src/domain/peering.js';
import { EXCLUDES } from '../src/domain/peering-excludes.js';
import { withLists } from '../src/domain/peering-page.js';

const PATTERNS = EXCLUDES.map(({ pattern }) => pattern);

/** The list that users were promised, written down a second time: taking one away takes two hands. */
const PROMISED =
  `.git .env* .envrc .openclaw .claude .codex .gemini .config .cursor .vscode .idea .docker .mcp.json
  credentials.json service-account.json auth.json secrets.yml secrets.yaml secrets.json .npmrc .yarnrc* .pypirc .netrc
  .htpasswd .pgpass .my.cnf .git-credentials .gitconfig .ssh id_rsa* id_ed25519* id_ecdsa* *.pem *.key *.p12 *.pfx *.jks
  *.keystore *.kdbx *.ppk *.asc .gnupg .aws .azure .gcloud .boto .s3cfg .kube kubeconfig* .terraform *.tfstate* *.tfvars
  .vault-token .cargo/credentials* .m2/settings.xml .gradle/gradle.properties .dockercfg .dev.vars .direnv .vercel
  .netlify .wrangler *.sqlite* *.ovpn *_history core.* node_modules .shared`.split(/\s+/);

const SEEN = [
  'src/index.ts',
  'README.md',
  'Makefile',
  '.github/workflows/ci.yml',
  '.gitignore',
  '.gitattributes',
  'docs/a b.md',
  'environment.ts',
  'env.ts',
  'core/index.ts',
  'mycore.ts',
  'history.md',
  'src/key.ts',
  'package-lock.json',
  'naïve.txt',
  'src/日本語.txt',
  'emoji 👩‍💻.md',
  'settings.xml',
  'credentials.toml',
  'gradle.properties',
  'cargo/credentials.toml',
  'keys.md',
  'pem',
  'a:b',
  'file.txt~',
  'x~',
  '.editorconfig',
  '...a',
  'con fig',
];

/** Fills the stars of a pattern. */
const instanceOf = (pattern: string): fc.Arbitrary<string> => {
  const parts = pattern.split('*');
  return fc
    .array(fc.string({ unit: fc.constantFrom(...'abcXYZ019._- é'), maxLength: 6 }), {
      minLength: parts.length - 1,
      maxLength: parts.length - 1,
    })
    .map((fills) => parts.map((part, i) => part + (fills[i] ?? '')).join(''));
};

const HIDDEN = [
  '\u200c',
  '\u200d',
  '\u200b',
  '\ufeff',
  '\u2060',
  '\u206a',
  '\u00ad',
  '\ufe0f',
  '\u180e',
  '\u202e',
];

/** Another spelling of the same name: case, composition, compatibility forms, what does not show, Windows endings. */
const spelling = (name: string): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.array(fc.tuple(fc.constantFrom('keep', 'upper', 'wide'), fc.constantFrom('', '', '', ...HIDDEN)), {
        minLength: name.length,
        maxLength: name.length,
      }),
      fc.constantFrom('NFC', 'NFD', 'NFKC', 'NFKD'),
      fc.constantFrom('', '', '.', ' ', '. .', '::$DATA', ':x', '::$INDEX_ALLOCATION'),
    )
    .map(([choices, form, end]) => {
      const text = [...name].map((letter, i) => {
        const [how, hidden] = choices[i] ?? ['keep', ''];
        const code = letter.charCodeAt(0);
        const other =
          how === 'upper'
            ? letter.toUpperCase()
            : how === 'wide' && code > 0x20 && code < 0x7f && letter !== '/'
              ? String.fromCharCode(code + 0xfee0)
              : letter;
        return letter === '/' ? letter : other + hidden;
      });
      return text.join('').normalize(form) + end;
    });

const variant = fc.constantFrom(...PATTERNS).chain((pattern) =>
  instanceOf(pattern)
    .chain(spelling)
    .map((name) => ({ pattern, name })),
);

const around = fc.tuple(
  fc.constantFrom('', 'src/', 'a/b/c/', 'ÄÖ/x y/'),
  fc.constantFrom('', '/x', '/deep/er/file.ts'),
);

describe('the exclude list', () => {
  it('is the one that was promised, whole', () => {
    expect([...PATTERNS].sort()).toEqual([...PROMISED].sort());
  });

  it.each(EXCLUDES)('$pattern has a reason', ({ reason }) => {
    expect(reason.length).toBeGreaterThan(8);
  });

  it.each(PATTERNS)('%s: excluded in any folder, with all below it, in any case', (pattern) => {
    const name = pattern.replaceAll('*', 'x');
    for (const path of [
      name,
      `a/${name}`,
      `a/${name}/b/c`,
      name.toUpperCase(),
      `a/${name.toUpperCase()}/b`,
    ]) {
      expect(excludedBy(path)?.reason, path).toBeDefined();
      expect(excludedBy(Buffer.from(path)), path).toEqual(excludedBy(path));
    }
    expect(excludedBy(name)?.pattern).toBe(pattern === '.envrc' ? '.env*' : pattern);
    expect(excludedBy(pattern.replaceAll('*', '')), 'nothing for the star').toBeDefined();
  });

  it('takes every spelling that some file system takes for an entry', () => {
    fc.assert(
      fc.property(variant, around, ({ name }, [above, below]) => {
        const path = `${above}${name}${below}`;
        expect(excludedBy(path), JSON.stringify(path)).toBeDefined();
        expect(excludedBy(Buffer.from(path))).toEqual(excludedBy(path));
      }),
      { numRuns: 5_000 },
    );
  });

  it('knows letters whose lower case is an ASCII one', () => {
    expect(excludedBy('cert.\u212aey')?.pattern).toBe('*.key');
    expect(excludedBy('.\u017fsh')?.pattern).toBe('.ssh');
    expect(excludedBy('.g\u0131t')?.pattern).toBe('.git');
  });

  it.each(SEEN)('leaves %s alone', (path) => {
    expect(excludedBy(path)).toBeUndefined();
    expect(excludedBy(Buffer.from(path))).toBeUndefined();
    expect(excludedBy(Buffer.from(path.normalize('NFD')))).toBeUndefined();
  });

  it('says the same of a folder and of all below it', () => {
    const name = fc.string({
      unit: fc.constantFrom(...'abgit.env~1: \\ÄK\u200c'),
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), name, (names, more) => {
        const why = excludedBy(names.join('/'));
        if (why) expect(excludedBy([...names, more].join('/'))).toEqual(why);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('names that deceive', () => {
  it.each([
    ['a\nb', 'control character'],
    ['a\x1b[2Jb', 'control character'],
    ['a\x7fb', 'control character'],
    ['a\u009bb', 'control character'],
    ['a\u202egpj.exe', 'control character'],
    ['a\u2028b', 'control character'],
    ['readme.', 'dot or space at the end'],
    ['readme ', 'dot or space at the end'],
    ['readme.\u200c', 'dot or space at the end'],
    ['git~1', 'short name'],
    ['GIT~1', 'short name'],
    ['GI7EBA~1', 'short name'],
    ['CREDEN~1.JSO', 'short name'],
    ['notes.txt::$DATA', 'data stream'],
    ['notes.txt:x:$DATA', 'data stream'],
    ['.git\\config', 'slash'],
    ['..', 'no name'],
    ['.', 'no name'],
    ['a\ud800', 'not UTF-8'],
  ])('%j is left out: %s', (name, pattern) => {
    expect(excludedBy(`src/${name}`)?.pattern).toBe(pattern);
    expect(excludedBy(`${name}/x`)?.pattern).toBe(pattern);
  });

  it('and bytes that are not UTF-8', () => {
    for (const bytes of [
      [0x61, 0xff],
      [0xc0, 0xae],
      [0xed, 0xa0, 0x80],
      [0x2e, 0x67, 0x69, 0x74, 0x80],
    ])
      expect(excludedBy(Buffer.concat([Buffer.from('src/'), Buffer.from(bytes)]))?.pattern).toBe('not UTF-8');
    expect(excludedBy(Buffer.concat([Buffer.from('.ssh/'), Buffer.from([0xff])]))?.pattern).toBe('.ssh');
  });

  it('no path is shown with what a terminal would act on', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.string({ unit: 'binary' }), (bytes, text) => {
        for (const path of [bytes, text])
          expect(shownPath(path)).not.toMatch(/[\p{Cc}\p{Cs}\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u);
      }),
    );
    expect(shownPath('a\x1b[2Jb')).toBe('a\\u{1b}[2Jb');
    expect(shownPath('x'.repeat(5_000)).length).toBeLessThan(400);
  });

  it('a manifest stays small, and counts all the same', () => {
    const manifest = emptyManifest();
    for (let i = 0; i < 20_000; i++) leaveOut(manifest, `a/${i}.pem`, { pattern: '*.pem', reason: 'a key' });
    expect(manifest.leftOut).toHaveLength(1_000);
    expect(manifest.counts).toEqual({ '*.pem': 20_000 });
  });
});

test('docs/peering.md has the lists as they are: `npm run peering` writes them', () => {
  const page = readFileSync('docs/peering.md', 'utf8');
  expect(withLists(page)).toBe(page);
  for (const pattern of PATTERNS) expect(page).toContain(`- \`${pattern}\`: `);
});
