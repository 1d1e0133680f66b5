// Text of others on its way to a terminal, as a stream: colours may pass, whatever else a terminal would obey may not.

import { StringDecoder } from 'node:string_decoder';

/** Escape sequences but colours; control characters, C1 too, but tab, line feed and carriage return; and what turns the direction of the text. */
const FORBIDDEN =
  /\u001b(?!\[[0-9;:]{0,40}m)|[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** What may become a colour yet. */
const OPEN = /\u001b(?:\[[0-9;:]{0,40})?$/;

const RESET = '\u001b[0m';

export class TerminalText {
  private readonly decoder = new StringDecoder('utf8');
  private held = '';
  private coloured = false;

  push(chunk: Buffer): string {
    return this.pass(this.held + this.decoder.write(chunk));
  }

  /** What was kept back; colours end here. */
  end(): string {
    const rest = this.held + this.decoder.end();
    this.held = '';
    return rest.replace(FORBIDDEN, '\ufffd') + (this.coloured ? RESET : '');
  }

  private pass(text: string): string {
    const open = OPEN.exec(text)?.index ?? text.length;
    this.held = text.slice(open);
    const passed = text.slice(0, open).replace(FORBIDDEN, '\ufffd');
    this.coloured ||= passed.includes('\u001b');
    return passed;
  }
}
