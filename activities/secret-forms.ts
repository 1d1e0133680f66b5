// How the value of a secret may show in output: as it is, line by line, and as common encodings write it.

/** Values, and parts of encodings, that are shorter than this are too common to be taken out of everything. */
export const SHORTEST_SECRET = 6;

/** A line of a secret has to be longer than this to count by itself. */
const SHORT_LINE = 15;

/** Encoded text is wrapped by `base64` and mail at 76, by PEM and openssl at 64, by `xxd -p` at 60 characters. */
const WRAPS = [76, 64, 60];

/** Says what a key is, not the key. */
const FRAME = /^-+ ?(BEGIN|END) [A-Z0-9 ]+-+$/;

/** Every text by which the value is known, without repeats. */
export function formsOf(value: string): string[] {
  const unix = value.replace(/\r\n/g, '\n');
  const forms = new Set([
    value,
    unix,
    unix.replaceAll('\n', '\r\n'),
    ...linesOf(value),
    ...urlForms(value),
    ...jsonForms(value),
  ]);
  const bytes = Buffer.from(value);
  const hex = bytes.toString('hex');
  for (const form of [hex, hex.toUpperCase(), ...base64Forms(bytes)]) {
    forms.add(form);
    for (const part of wrapped(form)) forms.add(part);
  }
  return [...forms].filter((form) => Buffer.byteLength(form) >= SHORTEST_SECRET);
}

/** Lines of a text; of a JSON document also those within its strings, for a key in it is used without the rest. */
const linesOf = (value: string): string[] =>
  [value, ...stringsIn(value)]
    .flatMap((text) => text.split(/\r\n|\r|\n/))
    .flatMap((line) => [line, line.trim()])
    .filter((line) => line.length > SHORT_LINE && !FRAME.test(line));

function stringsIn(value: string): string[] {
  if (!/^\s*[{[]/.test(value)) return [];
  const found: string[] = [];
  try {
    JSON.parse(value, (_key, inner: unknown) => {
      if (typeof inner === 'string') found.push(inner);
    });
  } catch {
    // No JSON after all.
  }
  return found;
}

/** Line by line, and all of it, for its last line may be short. */
const wrapped = (form: string): string[] =>
  WRAPS.filter((width) => form.length > width).flatMap((width) => {
    const lines = form.match(new RegExp(`.{1,${width}}`, 'g')) ?? [];
    return [...lines.filter((line) => line.length > SHORT_LINE), lines.join('\n'), lines.join('\r\n')];
  });

function urlForms(value: string): string[] {
  // Half a character has no such form.
  if (Buffer.from(value).toString() !== value) return [];
  const component = encodeURIComponent(value);
  const strict = component.replace(/[!'()*]/g, percent);
  const form = new URLSearchParams([['', value]]).toString().slice(1);
  const forms = [component, strict, form, component.replaceAll('%20', '+'), strict.replaceAll('%20', '+')];
  // Some leave slashes as they are, which a path may have.
  const all = forms.flatMap((one) => [one, one.replaceAll('%2F', '/')]);
  return all.flatMap((one) => [one, one.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())]);
}

const percent = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;

/** As JSON, as JSON within JSON, and with what some writers escape beyond need. */
function jsonForms(value: string): string[] {
  const inner = (text: string) => JSON.stringify(text).slice(1, -1);
  const unicode = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const once = inner(value);
  const ascii = once.replace(/[\u007f-\uffff]/g, unicode);
  const html = once.replace(/[<>&\u2028\u2029]/g, unicode);
  return [once, inner(once), ascii, html, once.replaceAll('/', '\\/')];
}

/**
 * The value within base64 of something longer, at each of its three alignments: only the characters that it decides
 * alone. And as its end, where what follows is padding.
 */
function base64Forms(bytes: Buffer): string[] {
  const forms = [0, 1, 2].flatMap((before) => {
    const padded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const from = Math.ceil((before * 8) / 6);
    const ending = padded.slice(from);
    const certain = Math.floor(((before + bytes.length) * 8) / 6) - from;
    return [ending.slice(0, certain), ending.replace(/=+$/, ''), ending];
  });
  return forms.flatMap((form) => [form, form.replaceAll('+', '-').replaceAll('/', '_')]);
}
