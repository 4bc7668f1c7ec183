import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { runTool } from './tool-run.ts';

/**
 * The programs and file calls of which a data place is made, each by itself: a power cut between any two of them must
 * lose nothing that was acknowledged, and tests cut there.
 */
export interface SystemTools {
  /** Its stdout; throws a sentence. */
  run(file: string, args: readonly string[]): Promise<string>;
  /** Written and fsynced. */
  write(path: string, text: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  syncFolder(path: string): Promise<void>;
}

/** A person's own PATH, also root's by `su`, has no sbin; there lie mkfs and losetup. */
const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;
export const toolEnv = { ...process.env, PATH: path, LC_ALL: 'C' };

/** The real ones. */
export const systemTools: SystemTools = {
  run: (file, args) => runTool(file, args, toolEnv),
  async write(path, text) {
    const file = await open(path, 'w', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
  },
  rename,
  async syncFolder(path) {
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
};

/** What is being written by those tools, by path: two at once would take the file beside it from each other. */
const underWay = new WeakMap<SystemTools, Map<string, Promise<void>>>();

/** Old or new, never half: written beside it, fsynced, renamed, and the folder fsynced. Whoever asked last is the one that counts. */
export function replaceFile(path: string, text: string, tools: SystemTools): Promise<void> {
  const all = underWay.get(tools) ?? new Map<string, Promise<void>>();
  underWay.set(tools, all);
  const before = all.get(path)?.catch(() => undefined) ?? Promise.resolve();
  const written = before.then(() => replaceNow(path, text, tools));
  all.set(path, written);
  return written.finally(() => all.get(path) === written && all.delete(path));
}

async function replaceNow(path: string, text: string, tools: SystemTools): Promise<void> {
  await tools.write(`${path}.new`, text);
  await tools.rename(`${path}.new`, path);
  await tools.syncFolder(dirname(path));
}
