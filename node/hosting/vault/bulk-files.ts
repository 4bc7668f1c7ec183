import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';

/** Of one kind (`artifacts`, `packages`, …): files that are on one side only. */
export interface FileCounts {
  kind: string;
  then: number;
  now: number;
}

/** What comes and goes while GitLab works. */
const passing = new Set(['tmp', 'cache']);
const entriesMost = 2_000_000;

/** Names are compared, not contents: GitLab never writes such a file twice. `isWhole`: false where there were too many. */
export async function fileCounts(
  then: string,
  now: string,
  signal: AbortSignal,
): Promise<{ counts: FileCounts[]; isWhole: boolean }> {
  let left = entriesMost;
  const entries = async (folder: string | null) => {
    signal.throwIfAborted();
    const found = folder === null ? [] : await readdir(folder, { withFileTypes: true }).catch(() => []);
    left -= found.length;
    return new Map(found.map((entry) => [entry.name, entry.isDirectory()]));
  };
  const walk = async (a: string | null, b: string | null, count: FileCounts): Promise<void> => {
    if (left <= 0) return;
    const [before, after] = [await entries(a), await entries(b)];
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const [isThen, isNow] = [before.get(name), after.get(name)];
      if (isThen === false && isNow !== false) count.then += 1;
      if (isNow === false && isThen !== false) count.now += 1;
      if (isThen !== true && isNow !== true) continue;
      await walk(isThen && a !== null ? join(a, name) : null, isNow && b !== null ? join(b, name) : null, count);
    }
  };
  // Folders alone: what a link leads to is not GitLab's.
  const both = [...(await entries(then)), ...(await entries(now))];
  const kinds = new Set(both.flatMap(([kind, isFolder]) => (isFolder ? [kind] : [])));
  const counts: FileCounts[] = [];
  for (const kind of [...kinds].filter((one) => !passing.has(one)).sort()) {
    const count = { kind, then: 0, now: 0 };
    const [isThen, isNow] = [(await entries(then)).get(kind) === true, (await entries(now)).get(kind) === true];
    await walk(isThen ? join(then, kind) : null, isNow ? join(now, kind) : null, count);
    if (count.then > 0 || count.now > 0) counts.push(count);
  }
  return { counts, isWhole: left > 0 };
}

/** The same, where what was there then is a list of paths below each kind. */
export async function countsBeside(
  then: ReadonlyMap<string, ReadonlySet<string>>,
  now: string,
  signal: AbortSignal,
): Promise<FileCounts[]> {
  const there = await readdir(now, { withFileTypes: true }).catch(() => []);
  const folders = new Set(there.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])));
  const kinds = new Set([...then.keys(), ...folders]);
  const counts: FileCounts[] = [];
  for (const kind of [...kinds].filter((one) => !passing.has(one)).sort()) {
    signal.throwIfAborted();
    const folder = join(now, kind);
    const found = folders.has(kind)
      ? await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => [])
      : [];
    const present = found
      .filter((entry) => !entry.isDirectory())
      .map((one) => relative(folder, join(one.parentPath, one.name)));
    const before = then.get(kind) ?? new Set();
    const common = present.filter((one) => before.has(one)).length;
    const count = { kind, then: before.size - common, now: present.length - common };
    if (count.then > 0 || count.now > 0) counts.push(count);
  }
  return counts;
}
