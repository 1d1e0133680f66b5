// What a host offers for sandboxes, and what of it one may be given.

export interface SandboxHost {
  bwrap: string;
  version: string;
  /** As root, each agent gets a user id of its own; bubblewrap never runs as root. */
  root: boolean;
  cgroup?: CgroupRoot;
}

export interface CgroupRoot {
  version: 1 | 2;
  /** Folders in which attempts get their own: one for version 2, one for each controller for version 1. */
  folders: string[];
}

/** Limits of all processes of a sandbox, or of each where there is no group of limits; bytes. */
export interface Limits {
  memory?: number;
  processes?: number;
  openFiles?: number;
  fileSize?: number;
}

/** PATH in a sandbox, where nothing else is said. */
export const INSIDE_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
