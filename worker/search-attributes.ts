// The search attributes that make a task's state show in the Web UI's list: registered once per namespace.

import type { Connection } from '@temporalio/client';
import { SEARCH } from '../src/domain/ids.js';

const KEYWORD = 2;

/** Registers what is missing. On Temporal Cloud, where workers may not, it says which to add by hand. */
export async function registerSearchAttributes(connection: Connection, namespace: string): Promise<void> {
  const { customAttributes } = await connection.operatorService
    .listSearchAttributes({ namespace })
    .catch(() => ({ customAttributes: {} }));
  const missing = Object.values(SEARCH).filter((name) => !(name in customAttributes));
  if (missing.length === 0) return;
  try {
    const searchAttributes = Object.fromEntries(missing.map((name) => [name, KEYWORD]));
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (/already exist/i.test(text)) return;
    throw new Error(
      `the search attributes ${missing.join(', ')} (Keyword) are missing in namespace ${namespace} and cannot be added: ${text}`,
    );
  }
}
