// What a consumer may see of another task's tree: a snapshot without whatever EXCLUDES names, without names that some
// terminal or file system takes for another, and with nothing but regular files and folders. Names are compared as the most
// lenient file system would: without regard to case, after Unicode normalisation, and without characters that do not show.
//
// Runs in the copier's sandbox too: imports nothing but its list and the folding of names.

import { fold } from './folding.js';
import { EXCLUDES, type Exclude } from './peering-excludes.js';

/** Names that are left out whatever they stand for, by what is wrong with them. */
export const BAD_NAMES = {
  'not UTF-8': 'no two programs read such a name alike',
  'control character':
    'a name with control characters, or such as turn the direction of writing, deceives who reads it',
  'dot or space at the end': 'some file systems take such a name for the one without',
  'short name': 'some file systems take `GIT~1` for the short form of a longer name',
  'data stream': 'some file systems take what follows the colon for a part of the file before it',
  slash: 'some systems take a slash or a backslash in a name for the end of a folder',
  'no name': 'an empty name, `.` and `..` stand for no file of the folder',
} as const;

/** What else is left out, by what it is. */
export const BAD_KINDS = {
  'symbolic link': 'it may lead anywhere',
  'hard link': 'the same file has another name, which may be an excluded one',
  submodule: 'another repository, with rules of its own',
  'special file': 'neither a file nor a folder: a device, a pipe or a socket',
  'other file system': 'something is mounted there',
  'changed meanwhile': 'it became something else, or went away, while it was looked at',
  unreadable: 'it could not be read',
  'same name': 'the folder has another entry of this name',
  'too deep': 'its path is longer than programs can be relied on to take',
  'too large': 'the snapshot has no room for it',
  'too many': 'the snapshot holds as many files and folders as it may',
  secret: 'a secret was found in it',
  'not searched': 'it could not be searched for secrets',
} as const;

export interface LeftOut extends Exclude {
  /** As it may be shown: no control characters, cut when long. */
  path: string;
}

export interface SnapshotLimits {
  files: number;
  bytes: number;
}

export const SNAPSHOT_LIMITS: SnapshotLimits = { files: 50_000, bytes: 200_000_000 };

/** Folders below each other, and bytes of a path from the snapshot's root on. */
export const MAX_DEPTH = 100;
export const MAX_PATH_BYTES = 1_024;

/** What a snapshot holds, and what it does not. Never the content of a file. */
export interface Manifest {
  files: number;
  bytes: number;
  /** The first of what was left out; a folder stands for all below it. */
  leftOut: LeftOut[];
  /** How much was left out, by pattern. */
  counts: Record<string, number>;
  /** Why the source is not in it as a whole, where a limit was met. */
  incomplete?: string;
}

const LISTED = 1_000;
const SHOWN = 300;

export const emptyManifest = (): Manifest => ({ files: 0, bytes: 0, leftOut: [], counts: {} });

/** Notes in the manifest what is left out, and why. */
export function leaveOut(manifest: Manifest, path: string | Uint8Array, why: Exclude): void {
  const { pattern, reason } = why;
  manifest.counts[pattern] = (manifest.counts[pattern] ?? 0) + 1;
  if (manifest.leftOut.length < LISTED) manifest.leftOut.push({ path: shownPath(path), pattern, reason });
}

export const badKind = (pattern: keyof typeof BAD_KINDS): Exclude => ({
  pattern,
  reason: BAD_KINDS[pattern],
});

const badName = (pattern: keyof typeof BAD_NAMES): Exclude => ({ pattern, reason: BAD_NAMES[pattern] });

/** Why a path is in no snapshot: its own name's reason, or that of a folder above it. Undefined for what may be seen. */
export function excludedBy(path: string | Uint8Array): Exclude | undefined {
  const text = typeof path === 'string' ? path : decode(path);
  // Where the bytes are no text the names before the first bad one still give their own reason.
  const names = (text ?? lossy(path as Uint8Array)).split('/');
  let parent = '';
  for (const name of names) {
    const why =
      text === undefined && name.includes('\ufffd') ? badName('not UTF-8') : excludedName(parent, name);
    if (why) return why;
    parent = name;
  }
  return text === undefined ? badName('not UTF-8') : undefined;
}

/** As excludedBy, for one name in a folder that is itself not excluded; '' is the root. */
export function excludedName(parent: string, name: string | Uint8Array): Exclude | undefined {
  const text = typeof name === 'string' ? name : decode(name);
  if (text === undefined) return badName('not UTF-8');
  const plain = plainNames(text);
  if (plain.some((name) => ANY.test(name))) {
    const found = PATTERNS.find(({ matches }) => plain.some((name) => matches.test(name)));
    if (found) return found.exclude;
  }
  const below = IN_FOLDER.find(
    ({ folder, matches }) =>
      plain.some((name) => matches.test(name)) && plainNames(parent).some((name) => folder.test(name)),
  );
  return below?.exclude ?? trickIn(text);
}

/**
 * What is wrong with a name whatever it stands for: some program takes it for another one, or git reads it as its own.
 * Undefined for all others, whether a snapshot may hold them or not.
 */
export function trickyName(name: string | Uint8Array): Exclude | undefined {
  const text = typeof name === 'string' ? name : decode(name);
  if (text === undefined) return badName('not UTF-8');
  return (
    trickIn(text) ?? (plainNames(text).some((plain) => GITS_NAMES.includes(plain)) ? GITS_OWN : undefined)
  );
}

const GITS_NAMES = ['.git', '.gitmodules', '.gitattributes'];
const GITS_OWN: Exclude = {
  pattern: "git's own",
  reason: 'git goes by what stands there, and may run programs that it names',
};

function trickIn(name: string): Exclude | undefined {
  if (name === '' || name === '.' || name === '..') return badName('no name');
  if (LONE_SURROGATE.test(name)) return badName('not UTF-8');
  if (DECEIVING.test(name)) return badName('control character');
  if (name.includes('/') || name.includes('\\')) return badName('slash');
  if (/[. ]$/.test(visible(name))) return badName('dot or space at the end');
  if (STREAM.test(name)) return badName('data stream');
  if (SHORT_NAME.test(visible(name).normalize('NFKC'))) return badName('short name');
  return undefined;
}

const LONE_SURROGATE = /\p{Cs}/u;

/** Control characters, line separators, and what turns the direction of writing. */
const DECEIVING = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** Without what does not show: file systems of macOS do not tell names apart by some of that. */
const visible = (name: string): string => name.replace(/\p{Default_Ignorable_Code_Point}/gu, '');

/** `name:stream:$TYPE`, also with an empty stream. */
const STREAM = /:\$|::/;

/** A short name as FAT and NTFS make them: `GIT~1`, `CREDEN~1.JSO`. */
const SHORT_NAME = /^[^.~]{1,7}~\d{1,6}(?:\.[^.]{0,3})?$/;

/** One spelling for all that some file system takes for the same name; two where it may drop dots and spaces at the end. */
function plainNames(name: string): string[] {
  if (PLAIN.test(name)) return [name];
  const shown = visible(fold(visible(name).normalize('NFKC')));
  const colon = shown.indexOf(':');
  const file = colon < 0 ? shown : shown.slice(0, colon);
  const short = file.replace(/[. ]+$/, '');
  return short === file ? [file] : [file, short];
}

/** What most names are: nothing to do. */
const PLAIN = /^[a-z0-9_.-]*[a-z0-9_-]$/;

const expression = (pattern: string): string =>
  pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '[^]*');

const whole = (pattern: string): RegExp => new RegExp(`^${expression(pattern)}$`, 'u');

const PATTERNS = EXCLUDES.filter(({ pattern }) => !pattern.includes('/')).map((exclude) => ({
  exclude,
  matches: whole(exclude.pattern),
}));

const IN_FOLDER = EXCLUDES.filter(({ pattern }) => pattern.includes('/')).map((exclude) => {
  const [folder = '', name = ''] = exclude.pattern.split('/');
  return { exclude, folder: whole(folder), matches: whole(name) };
});

/** Most names match nothing: one question instead of one for each entry. */
const ANY = new RegExp(`^(?:${PATTERNS.map(({ exclude }) => expression(exclude.pattern)).join('|')})$`, 'u');

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const lossy = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

/** A path as it may stand in a terminal or a page, whatever its bytes. */
export function shownPath(path: string | Uint8Array): string {
  const text = typeof path === 'string' ? path : lossy(path);
  const cut = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
  return cut.replace(
    /[\p{Cs}\p{Default_Ignorable_Code_Point}\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu,
    (letter) => `\\u{${(letter.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
