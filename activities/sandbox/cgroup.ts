// Groups of limits (control groups), where this host has them and we may make some: one for each attempt, so that memory
// and processes are limited for all of it together. Version 2, or version 1 with its folder for each controller.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CgroupRoot, Limits } from './offer.js';

const MOUNT = '/sys/fs/cgroup';

/** Undefined when there are none, or we may not make any. */
export function findCgroup(fleet: string): CgroupRoot | undefined {
  const name = `signalbox-${fleet}`;
  try {
    const controllers = join(MOUNT, 'cgroup.controllers');
    if (existsSync(controllers)) {
      const folder = join(MOUNT, name);
      return usable({ version: 2, folders: [folder] });
    }
    const folders = ['memory', 'pids'].map((controller) => join(MOUNT, controller, name));
    if (!folders.every((folder) => existsSync(join(folder, '..', 'cgroup.procs')))) return undefined;
    return usable({ version: 1, folders });
  } catch {
    return undefined;
  }
}

/** Only what was seen to take a limit counts. */
function usable(root: CgroupRoot): CgroupRoot | undefined {
  const group = new Cgroup(root, `probe-${process.pid}`);
  try {
    group.make({ memory: 1 << 28, processes: 64 });
    return root;
  } catch {
    return undefined;
  } finally {
    group.remove();
    removeEmptyCgroups(root);
  }
}

export class Cgroup {
  constructor(
    private readonly root: CgroupRoot,
    private readonly name: string,
  ) {}

  private get folders(): string[] {
    return this.root.folders.map((folder) => join(folder, this.name));
  }

  /** Throws when a limit cannot be set. */
  make({ memory, processes }: Limits): void {
    for (const folder of this.root.folders) mkdirSync(folder, { recursive: true });
    if (this.root.version === 2)
      for (const folder of this.root.folders)
        writeFileSync(join(folder, 'cgroup.subtree_control'), '+memory +pids');
    for (const folder of this.folders) mkdirSync(folder, { recursive: true });
    const [first = '', second = first] = this.folders;
    const v2 = this.root.version === 2;
    if (memory !== undefined) {
      writeFileSync(join(first, v2 ? 'memory.max' : 'memory.limit_in_bytes'), String(memory));
      const swap = join(first, v2 ? 'memory.swap.max' : 'memory.memsw.limit_in_bytes');
      if (existsSync(swap)) writeFileSync(swap, v2 ? '0' : String(memory));
    }
    if (processes !== undefined) writeFileSync(join(second, 'pids.max'), String(processes));
  }

  add(pid: number): void {
    for (const folder of this.folders) writeFileSync(join(folder, 'cgroup.procs'), String(pid));
  }

  /** How many of its processes were ended because there was no memory left for them. */
  get outOfMemory(): number {
    const [folder = ''] = this.folders;
    const file = join(folder, this.root.version === 2 ? 'memory.events' : 'memory.oom_control');
    try {
      return Number(/^oom_kill (\d+)$/m.exec(readFileSync(file, 'utf8'))?.[1] ?? 0);
    } catch {
      return 0;
    }
  }

  /** Once no process is left in it. */
  remove(): void {
    for (const folder of this.folders) {
      try {
        rmdirSync(folder);
      } catch {
        // The kernel may take a moment; what is left is removed when the worker stops, or the next one starts.
      }
    }
  }
}

/** Removes the groups of attempts that are no more, and the fleet's own when nothing is left in it. */
export function removeEmptyCgroups(root: CgroupRoot): void {
  const remove = (folder: string) => {
    try {
      rmdirSync(folder);
    } catch {
      // Still in use, by another worker of this host.
    }
  };
  for (const folder of root.folders) {
    const entries = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : [];
    for (const entry of entries) if (entry.isDirectory()) remove(join(folder, entry.name));
    remove(folder);
  }
}
