// What a repository's history says about which paths need a claim: a proposal for `claims` in signalbox.yaml, for a
// person to read through. History knows who changed what, and not why.
//
// Generated is what is known by its name, or marked `linguist-generated`. A role's own is a directory that only one of
// several authors changes. Shared is what several authors change often, and what all the work relies on by its kind:
// rules for agents, migrations, scripts, what builds and ships.

import { parsePattern } from './paths.js';
import { coveredBy } from './surfaces.js';

export interface Change {
  author: string;
  /** Tells authors apart. */
  email: string;
  paths: string[];
}

export interface InventoryInput {
  commits: Change[];
  /** All files that there are now. */
  files: string[];
  attributes: { folder: string; text: string }[];
}

export interface Counted {
  path: string;
  commits: number;
  authors: number;
}

export interface Proposal {
  commits: number;
  authors: number;
  shared: (Counted & { why: string })[];
  own: { path: string; author: string; commits: number }[];
  generated: (Counted & { regenerate?: string; why: string })[];
}

/** A file is hot when so many commits, and this share of all, changed it. */
const HOT_COMMITS = 3;
const HOT_SHARE = 0.01;
const HOT_AUTHORS = 2;
/** A directory stands for its files when this share of them, and so many, are shared. */
const MOSTLY = 0.5;
const SEVERAL = 3;
/** Fewer commits do not show whose directory it is. */
const OWN_COMMITS = 5;
/** Who makes more of the commits is at home everywhere. */
const OWN_SHARE = 0.5;
const MOST_LISTED = 100;

/** Lockfiles and the commands that make them from their manifests, without touching anything else. */
const LOCKFILES: Readonly<Record<string, string>> = {
  'package-lock.json': 'npm install --package-lock-only --ignore-scripts',
  'npm-shrinkwrap.json': 'npm install --package-lock-only --ignore-scripts',
  'yarn.lock': 'yarn install --mode update-lockfile',
  'pnpm-lock.yaml': 'pnpm install --lockfile-only --ignore-scripts',
  'bun.lock': 'bun install --lockfile-only',
  'deno.lock': 'deno install --lockfile-only',
  'Cargo.lock': 'cargo update --workspace',
  'go.sum': 'go mod tidy',
  'poetry.lock': 'poetry lock',
  'uv.lock': 'uv lock',
  'Pipfile.lock': 'pipenv lock',
  'pdm.lock': 'pdm lock',
  'Gemfile.lock': 'bundle lock',
  'composer.lock': 'composer update --lock --no-install',
  'mix.lock': 'mix deps.get',
  'pubspec.lock': 'dart pub get',
  'Podfile.lock': 'pod install',
  'flake.lock': 'nix flake lock',
};

const RELIED_ON: readonly (readonly [RegExp, string])[] = [
  [/^(?:.*\/)?(?:AGENTS|CLAUDE|GEMINI|CONTRIBUTING)\.md$/, 'rules'],
  [/^(?:TODO|STATUS|HANDOFF|CHANGELOG|NOTES)\.md$/i, 'state and hand-off'],
  [/^((?:.*\/)?migrations)\/.*$/, 'migrations'],
  [/^(\.github|\.gitlab|\.circleci|\.ci)\/.*$/, 'what builds and ships'],
  [/^(?:\.gitlab-ci\.yml|Jenkinsfile|Makefile|Dockerfile|docker-compose\.ya?ml)$/, 'what builds and ships'],
  [/^(scripts|bin)\/.*$/, 'scripts'],
  [
    /^(?:.*\/)?(?:package\.json|Cargo\.toml|go\.mod|pyproject\.toml|pom\.xml|build\.gradle(?:\.kts)?|Gemfile|composer\.json|tsconfig\.json)$/,
    'shared configuration',
  ],
];

export function propose({ commits, files, attributes }: InventoryInput): Proposal {
  const claimable = files.filter((file) => claimOf(file) !== undefined);
  const history = new History(commits, new Set(claimable));
  const generated = generatedFiles(claimable, attributes, history);
  const isGenerated = coverage(generated.map(({ path }) => path));
  const written = claimable.filter((file) => !isGenerated(file));
  const own = ownDirectories(written, history);
  const isOwn = coverage(own.map(({ path }) => path));
  const shared = sharedPaths(
    written.filter((file) => !isOwn(file)),
    written,
    history,
  );
  return { commits: commits.length, authors: history.authors, shared, own, generated };
}

/** Who changed each file and each directory, of those that there still are. */
class History {
  private readonly found = new Map<string, { commits: number; authors: Map<string, number> }>();
  private readonly perAuthor = new Map<string, number>();
  private readonly names = new Map<string, string>();

  constructor(commits: readonly Change[], files: ReadonlySet<string>) {
    for (const { author, email, paths } of commits) {
      const who = email.toLowerCase();
      if (!this.names.has(who)) this.names.set(who, author);
      this.perAuthor.set(who, (this.perAuthor.get(who) ?? 0) + 1);
      const touched = new Set<string>();
      for (const path of paths) if (files.has(path)) for (const at of [path, ...above(path)]) touched.add(at);
      for (const path of touched) this.count(path, who);
    }
  }

  get authors(): number {
    return this.perAuthor.size;
  }

  get commits(): number {
    return [...this.perAuthor.values()].reduce((sum, count) => sum + count, 0);
  }

  of(path: string): Counted {
    const found = this.found.get(path);
    return { path, commits: found?.commits ?? 0, authors: found?.authors.size ?? 0 };
  }

  /** The only author of a path, and which share of all commits is theirs. */
  soleAuthor(path: string): { author: string; share: number } | undefined {
    const [who, ...others] = this.found.get(path)?.authors.keys() ?? [];
    if (who === undefined || others.length > 0) return undefined;
    return { author: this.names.get(who) ?? who, share: (this.perAuthor.get(who) ?? 0) / this.commits };
  }

  private count(path: string, who: string): void {
    let found = this.found.get(path);
    if (!found) {
      found = { commits: 0, authors: new Map() };
      this.found.set(path, found);
    }
    found.commits += 1;
    found.authors.set(who, (found.authors.get(who) ?? 0) + 1);
  }
}

/** The directories above a path, nearest first, without the root. */
function above(path: string): string[] {
  const found: string[] = [];
  for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1))
    found.push(path.slice(0, slash));
  return found;
}

/** The path as a claim, if it can be one and means nothing else. */
function claimOf(path: string): string | undefined {
  try {
    const pattern = parsePattern(path);
    return pattern.text === path && pattern.repository === undefined && !path.includes('\ufffd')
      ? path
      : undefined;
  } catch {
    return undefined;
  }
}

const coverage = (claims: readonly string[]): ((path: string) => boolean) =>
  coveredBy(claims.map(parsePattern), false);

const most = (a: Counted, b: Counted): number => b.commits - a.commits || (a.path < b.path ? -1 : 1);

function generatedFiles(
  files: readonly string[],
  attributes: InventoryInput['attributes'],
  history: History,
): Proposal['generated'] {
  const locks = files.flatMap((file) => {
    const name = file.slice(file.lastIndexOf('/') + 1);
    const command = Object.hasOwn(LOCKFILES, name) ? LOCKFILES[name] : undefined;
    if (command === undefined) return [];
    const folder = file.slice(0, -name.length - 1);
    const regenerate = folder === '' ? command : `cd ${quoted(folder)} && ${command}`;
    return [{ ...history.of(file), regenerate, why: 'a lockfile' }];
  });
  const known = coverage(locks.map(({ path }) => path));
  const marked = attributes.flatMap(({ folder, text }) =>
    text.split('\n').flatMap((line) => {
      const [glob = '', ...words] = line.trim().split(/\s+/);
      if (glob.startsWith('#') || !words.some((word) => /^linguist-generated(=true)?$/.test(word))) return [];
      const claim = attributeClaim(folder, glob);
      const matches = claim === undefined ? [] : files.filter(coverage([claim]));
      if (claim === undefined || matches.length === 0 || matches.every(known)) return [];
      const commits = matches.reduce((sum, file) => sum + history.of(file).commits, 0);
      const authors = Math.max(...matches.map((file) => history.of(file).authors));
      return [{ path: claim, commits, authors, why: 'marked as generated' }];
    }),
  );
  return [...locks, ...marked].sort(most).slice(0, MOST_LISTED);
}

/** A pattern of .gitattributes as a claim: without a slash it holds at any depth. */
function attributeClaim(folder: string, glob: string): string | undefined {
  const anchored = glob.replace(/\/$/, '').includes('/');
  const path = [...(folder ? [folder] : []), ...(anchored ? [] : ['**']), glob.replace(/^\//, '')].join('/');
  try {
    const plain = anchored && !/[*?[]/.test(glob);
    return parsePattern(plain ? path : `:(glob)${path}`).text;
  } catch {
    return undefined;
  }
}

const quoted = (text: string): string =>
  /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

function ownDirectories(files: readonly string[], history: History): Proposal['own'] {
  if (history.authors < HOT_AUTHORS) return [];
  const own: Proposal['own'] = [];
  const inside = countInside(files);
  // Where all files of a directory lie in one that is in it, that one says more.
  const wrappers = new Set(
    [...inside].flatMap(([path, count]) => above(path).filter((outer) => inside.get(outer) === count)),
  );
  for (const path of [...inside.keys()].sort((a, b) => a.length - b.length)) {
    if (wrappers.has(path) || own.some((outer) => path.startsWith(`${outer.path}/`))) continue;
    const { commits } = history.of(path);
    const sole = history.soleAuthor(path);
    if (sole && commits >= OWN_COMMITS && sole.share <= OWN_SHARE)
      own.push({ path, author: sole.author, commits });
  }
  return own.sort((a, b) => b.commits - a.commits || (a.path < b.path ? -1 : 1)).slice(0, MOST_LISTED);
}

function sharedPaths(
  candidates: readonly string[],
  written: readonly string[],
  history: History,
): Proposal['shared'] {
  const often = Math.max(HOT_COMMITS, Math.ceil(history.commits * HOT_SHARE));
  const several = Math.min(HOT_AUTHORS, history.authors);
  const hot = candidates.filter((file) => {
    const { commits, authors } = history.of(file);
    return commits >= often && authors >= several;
  });
  // A list that leaves out what nobody has shown to be cold would take claims away from it.
  if (hot.length === 0) return [];
  const why = new Map(hot.map((file) => [file, several > 1 ? 'changed often, by several' : 'changed often']));
  for (const file of candidates) {
    const kind = RELIED_ON.find(([form]) => form.test(file));
    if (kind) why.set(kind[0].exec(file)?.[1] ?? file, kind[1]);
  }
  const inside = countInside(written);
  const sharedInside = countInside(
    written.filter((file) => [file, ...above(file)].some((at) => why.has(at))),
  );
  for (const [directory, files] of [...inside].sort(([a], [b]) => a.length - b.length)) {
    const shared = sharedInside.get(directory) ?? 0;
    if (shared < SEVERAL || shared < files * MOSTLY || why.has(directory)) continue;
    if (!above(directory).some((outer) => why.has(outer))) why.set(directory, 'most of what is in it');
  }
  return [...why]
    .filter(([path]) => !above(path).some((outer) => why.has(outer)))
    .map(([path, reason]) => ({ ...history.of(path), why: reason }))
    .sort(most)
    .slice(0, MOST_LISTED);
}

/** How many of the files lie below each directory. */
function countInside(files: readonly string[]): Map<string, number> {
  const inside = new Map<string, number>();
  for (const file of files) for (const at of above(file)) inside.set(at, (inside.get(at) ?? 0) + 1);
  return inside;
}

const times = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
const counted = ({ commits, authors }: Counted): string =>
  `${times(commits, 'commit')}, ${times(authors, 'author')}`;

/** A path as YAML takes it, plain where nothing can be mistaken. */
const scalar = (text: string): string =>
  /^[A-Za-z_./][\w./@+-]*$/.test(text) && !/^(?:true|false|null|yes|no|on|off|\.+)$/i.test(text)
    ? text
    : JSON.stringify(text);

const comment = (text: string): string => text.replace(/[\p{Cc}\u2028\u2029]/gu, ' ');

/** The proposal as a part of signalbox.yaml, to be pasted under its repository. */
export function inventoryYaml(proposal: Proposal, where: { repository: string; role: string }): string {
  const { shared, own, generated } = proposal;
  const lines = [
    `# From the last ${times(proposal.commits, 'commit')} of ${comment(where.repository)}, by ${times(proposal.authors, 'author')}. History knows who changed`,
    '# what and not why: read it through. It stands under the repository in signalbox.yaml.',
    'claims:',
  ];
  if (shared.length > 0)
    lines.push(
      '  # These need a claim; what is not listed needs none. Leave `shared` out, and every path needs one.',
      '  shared:',
      ...shared.map((one) => `    - ${scalar(one.path)} # ${counted(one)}: ${one.why}`),
    );
  else lines.push('  # Nothing is changed so often that it stands out as shared: every path needs a claim.');
  if (own.length > 0)
    lines.push(
      '  # One author each. Whose are they? The role that is named needs no claim there, and no other may land there.',
      '  own:',
      `    ${scalar(where.role)}:`,
      ...own.map(
        (one) =>
          `      - ${scalar(one.path)} # ${times(one.commits, 'commit')}, all by ${comment(one.author)}`,
      ),
    );
  if (generated.length > 0)
    lines.push('  # Made from other files: needs no claim, the writer makes it anew.', '  generated:');
  for (const one of generated)
    lines.push(
      `    - paths: [${scalar(one.path)}] # ${counted(one)}: ${one.why}`,
      one.regenerate === undefined
        ? '      # regenerate: the command that makes it; without one it stays as it is on the branch'
        : `      regenerate: ${JSON.stringify(one.regenerate)}`,
    );
  return `${lines.join('\n')}\n`;
}
