// The system calls that a sandbox refuses because no namespace keeps them apart: those of the kernel's keyrings. A process
// inherits the session keyring of the one that started it, across namespaces and users, so an agent would read the keys
// of the worker's session and could leave some there for other agents.

/** Of a seccomp filter (classic BPF): what an instruction does. */
const LOAD_WORD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const RETURN = 0x06;

/** Where the kernel shows the number of the call and the convention it was made by. */
const NUMBER = 0;
const ARCH = 4;

const ALLOW = 0x7fff0000;
const REFUSE = 0x00050000;
const EPERM = 1;
const ENOSYS = 38;

/** Calls of x86-64 with other pointers (x32): a second name for every call, which nobody needs. */
const X32 = 0x40000000;

/** add_key, request_key and keyctl, by the kernel's name for each convention of an architecture. */
const KEYRINGS: Readonly<Record<string, readonly { arch: number; calls: readonly number[]; x32?: true }[]>> =
  {
    x64: [
      { arch: 0xc000003e, calls: [248, 249, 250], x32: true },
      { arch: 0x40000003, calls: [286, 287, 288] },
    ],
    arm64: [
      { arch: 0xc00000b7, calls: [217, 218, 219] },
      { arch: 0x40000028, calls: [309, 310, 311] },
    ],
  };

/** The filter for bubblewrap's --seccomp; undefined for a processor whose numbers are not known here. */
export function keyringFilter(architecture: string = process.arch): Buffer | undefined {
  const conventions = KEYRINGS[architecture];
  if (!conventions) return undefined;
  const program: [code: number, yes: number, no: number, operand: number][] = [];
  for (const { arch, calls, x32 } of conventions) {
    const checks: typeof program = [[LOAD_WORD, 0, 0, NUMBER]];
    if (x32) checks.push([JUMP_AT_LEAST, 0, 1, X32], [RETURN, 0, 0, REFUSE | ENOSYS]);
    for (const call of calls) checks.push([JUMP_EQUAL, 0, 1, call], [RETURN, 0, 0, REFUSE | EPERM]);
    checks.push([RETURN, 0, 0, ALLOW]);
    program.push([LOAD_WORD, 0, 0, ARCH], [JUMP_EQUAL, 0, checks.length, arch], ...checks);
  }
  // Whoever calls in yet another way than the processor's own.
  program.push([RETURN, 0, 0, REFUSE | ENOSYS]);
  const bytes = Buffer.alloc(8 * program.length);
  for (const [i, [code, yes, no, operand]] of program.entries()) {
    bytes.writeUInt16LE(code, 8 * i);
    bytes.writeUInt8(yes, 8 * i + 2);
    bytes.writeUInt8(no, 8 * i + 3);
    bytes.writeUInt32LE(operand >>> 0, 8 * i + 4);
  }
  return bytes;
}
