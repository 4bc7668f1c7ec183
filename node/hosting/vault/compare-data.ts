import { join, relative } from 'node:path';
import type { Difference } from '../../../protocol/differences.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import { plural } from '../../../scheduler/phrases.ts';
import { refuseLinked } from '../unlinked-file.ts';
import { BorrowedRepository } from './borrowed-repository.ts';
import { countsBeside, type FileCounts, fileCounts } from './bulk-files.ts';
import { type RefChange, refChanges } from './ref-maps.ts';
import { refsOf, repositoriesIn } from './tree-refs.ts';

/** Where both parts of GitLab's data lie. */
export interface DataSide {
  live: string;
  bulk: string;
}

/** Of the data place, or of a folder with data that went out of the way. */
export const sideIn = (folder: string): DataSide => ({ live: join(folder, 'live'), bulk: join(folder, 'bulk') });

export interface Compared {
  rows: Difference[];
  files: FileCounts[];
  notes: string[];
}

/** Commits are counted for so many refs, each within its time: a history of a million is walked for a while. */
const countsMost = 100;
const countMs = 5_000;
const countAllMs = 20_000;

export const repositoriesOf = (live: string): string => join(live, 'data', 'git-data', 'repositories');

/** What is not the same then and now, repository by repository. `nameOf`: of a stored repository, for people. */
export async function compareData(
  then: DataSide,
  now: DataSide,
  { nameOf, signal }: { nameOf(stored: string): string; signal: AbortSignal },
): Promise<Compared> {
  const [before, after] = [repositoriesOf(then.live), repositoriesOf(now.live)];
  for (const { live } of [then, now]) await refuseLinked(live, relative(live, repositoriesOf(live)));
  const [wasThere, isThere] = [await repositoriesIn(before, signal), await repositoriesIn(after, signal)];
  const [old, present] = [new Set(wasThere), new Set(isThere)];
  const rows: Difference[] = [];
  const counter = new CommitCounter(signal);
  const notes: string[] = [];
  const all = [...new Set([...wasThere, ...isThere])].sort();
  for (const [index, stored] of all.entries()) {
    const row = { ...none, repository: nameOf(stored).slice(0, 500) };
    if (!present.has(stored)) rows.push({ ...row, what: 'gone' });
    else if (!old.has(stored)) rows.push({ ...row, what: 'new' });
    else
      try {
        rows.push(...(await changesOf(row, [join(before, stored), join(after, stored)], { counter, signal })));
      } catch (error) {
        if (!isLate(signal)) throw error;
        notes.push(
          `time ran out: ${plural(index, 'repository was', 'repositories were')} compared, and ${all.length - index} not`,
        );
        return { rows, files: [], notes: [...notes, 'files of artifacts and packages were not counted'] };
      }
  }
  if (counter.problem !== null) notes.push(`commits are not counted: ${counter.problem}`);
  const found = await fileCounts(then.bulk, now.bulk, signal).catch((error: unknown) => {
    if (!isLate(signal)) throw error;
    return { counts: [], isWhole: false };
  });
  if (!found.isWhole) notes.push('there are too many files of artifacts and packages to compare all of them');
  return { rows, files: found.counts.map(withShortKind), notes };
}

/** Of a repository that is there then and now. */
async function changesOf(
  row: Omit<Difference, 'what'>,
  both: readonly [then: string, now: string],
  { counter, signal }: { counter: CommitCounter; signal: AbortSignal },
): Promise<Difference[]> {
  const [a, b] = [await refsOf(both[0], signal), await refsOf(both[1], signal)];
  if (a === null || b === null) return [{ ...row, what: 'unread' }];
  const { changes, others } = refChanges(a, b);
  const rows: Difference[] = [];
  for (const change of changes)
    rows.push({ ...row, what: 'ref', ...change, ref: cut(change.ref, 1024), ...(await counter.of(both, change)) });
  return others > 0 ? [...rows, { ...row, what: 'others', added: others }] : rows;
}

/** Whether no branch and no tag differs, of any repository; it ends at the first that does. */
export async function haveSamePushes(a: DataSide, b: DataSide, signal: AbortSignal): Promise<boolean> {
  for (const { live } of [a, b]) await refuseLinked(live, relative(live, repositoriesOf(live)));
  const folders = [repositoriesOf(a.live), repositoriesOf(b.live)] as const;
  const [there, here] = [await repositoriesIn(folders[0], signal), await repositoriesIn(folders[1], signal)];
  if ([...there].sort().join('\n') !== [...here].sort().join('\n')) return false;
  for (const stored of there) {
    const [one, other] = [
      await refsOf(join(folders[0], stored), signal),
      await refsOf(join(folders[1], stored), signal),
    ];
    if (one === null || other === null || refChanges(one, other).changes.length > 0) return false;
  }
  return true;
}

/** Nobody has stopped it: its time is over, and what was found by then is worth something. */
export const isLate = ({ aborted, reason }: AbortSignal): boolean =>
  aborted && (reason as Error | undefined)?.name === 'TimeoutError';

const withShortKind = (one: FileCounts): FileCounts => ({ ...one, kind: cut(one.kind, 128) });

/** git takes names of up to 4096 bytes; an answer that has one such in it would be refused whole. */
const cut = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

const none = { ref: null, then: null, now: null, added: null, lost: null };

class CommitCounter {
  readonly #signal: AbortSignal;
  readonly #untilMs = performance.now() + countAllMs;
  #left = countsMost;
  problem: string | null = null;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Commits that are on one side only; null where that is not known, or is not worth its time. */
  async of(
    repositories: readonly [string, string],
    { then, now }: RefChange,
  ): Promise<{ added: number | null; lost: number | null }> {
    const unknown = { added: null, lost: null };
    const isEnough = this.#left <= 0 || performance.now() > this.#untilMs || this.problem !== null;
    if (then === null || now === null || isEnough) return unknown;
    this.#left -= 1;
    try {
      const borrowed = await BorrowedRepository.of(repositories, now, this.#signal);
      try {
        const words = ['rev-list', '--count', '--left-right', `${then}...${now}`, '--'];
        const said = await borrowed.git(words, { signal: this.#signal, timeoutMs: countMs });
        const [lost, added] = said.trim().split('\t').map(Number);
        return Number.isInteger(lost) && Number.isInteger(added) ? { added: added!, lost: lost! } : unknown;
      } finally {
        await borrowed.drop();
      }
    } catch (error) {
      this.#signal.throwIfAborted();
      // Of one repository that has a hole the others are counted all the same.
      if (/not installed/.test(sentenceOf(error))) this.problem = sentenceOf(error);
      return unknown;
    }
  }
}

/** All paths below one that a backup has. */
export type ListBackup = (path: string, onNode: (path: string, type: string) => void) => Promise<void>;

const filesMost = 500_000;

/** By names alone: which refs a backup has stands in its files, and each would be fetched from its place by itself. */
export async function compareBackup(
  list: ListBackup,
  now: DataSide,
  { nameOf, signal }: { nameOf(stored: string): string; signal: AbortSignal },
): Promise<Compared> {
  const before = '/live/data/git-data/repositories';
  const stored = new Set<string>();
  await list(before, (path, type) => {
    const below = path.slice(before.length + 1);
    if (type === 'dir' && path.startsWith(before) && /^[^.]*(\.(wiki|design))?\.git$/.test(below)) stored.add(below);
  });
  await refuseLinked(now.live, relative(now.live, repositoriesOf(now.live)));
  const present = new Set(await repositoriesIn(repositoriesOf(now.live), signal));
  const names = [...new Set([...stored, ...present])].filter((one) => !one.startsWith('@pools/')).sort();
  const rows = names.flatMap((one): Difference | [] => {
    const row = { ...none, repository: nameOf(one).slice(0, 500) };
    if (!present.has(one)) return { ...row, what: 'gone' };
    return stored.has(one) ? [] : { ...row, what: 'new' };
  });
  const files = new Map<string, Set<string>>();
  let left = filesMost;
  await list('/bulk', (path, type) => {
    const [, , kind = '', ...rest] = path.split('/');
    if (type !== 'file' || rest.length === 0 || left-- <= 0) return;
    files.set(kind, (files.get(kind) ?? new Set()).add(rest.join('/')));
  });
  const counts = left <= 0 ? [] : await countsBeside(files, now.bulk, signal);
  const notes = [
    'of a backup only the names of repositories are compared, not their refs: a round, or what was replaced, tells those too',
    ...(left <= 0 ? ['there are too many files of artifacts and packages to compare them'] : []),
  ];
  return { rows, files: counts.map(withShortKind), notes };
}
