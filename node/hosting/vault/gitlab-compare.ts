import type { Comparison, Difference } from '../../../protocol/differences.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import { type Compared, compareBackup, compareData, type DataSide, isLate, type ListBackup } from './compare-data.ts';
import type { Restic } from './restic.ts';
import { type NamedProject, storedNames } from './stored-names.ts';
import { thenSide } from './then-side.ts';

interface CompareOptions {
  tree: string;
  /** What then is compared with. */
  now: DataSide;
  /** What now is compared with: a backup's id, a round's, `replaced-EPOCH`, `fenced-EPOCH`. */
  id: string;
  wallMs: number;
  signal: AbortSignal;
  /** All of them. Throws where GitLab cannot be asked. */
  projects(): Promise<NamedProject[]>;
  /** Throws where no place is named, this machine cannot open it, or it is not there. */
  backup(): Promise<OpenBackup>;
}

interface OpenBackup {
  at: number;
  list: ListBackup;
}

export async function backupOf(restic: Restic, id: string, signal: AbortSignal): Promise<OpenBackup> {
  const found = (await restic.snapshots(signal)).find((one) => one.id.startsWith(id));
  if (found === undefined) throw notHere(`there is no backup ${id}`);
  const list: ListBackup = (path, onNode) => restic.list(found.id, path, onNode, signal);
  return { at: Date.parse(found.time) || 0, list };
}

const notHere = (sentence: string): AutogitError =>
  new AutogitError('backup', sentence, { hint: 'which there are: autogit-node gitlab history' });

/** What one answer between members has room for (node/network/ask-streams.ts). */
const pageBytes = 40_000;

/** ms: less than whoever asks waits. */
const compareMs = 50_000;

export type WholeComparison = Omit<Comparison, 'rows' | 'from'> & { rows: Difference[] };

/** Of the last question, until its last page was read. */
export class ComparedPages {
  #known: { id: string; whole: WholeComparison } | null = null;

  /** From that row on; its first page has `id` compared anew. `stopped`: with whoever has the data open. */
  async page(
    { id, from, stopped }: { id: string; from: number; stopped: AbortSignal },
    compare: (signal: AbortSignal) => Promise<WholeComparison>,
  ): Promise<Comparison> {
    if (from === 0 || this.#known?.id !== id) {
      const signal = AbortSignal.any([stopped, AbortSignal.timeout(compareMs)]);
      this.#known = { id, whole: await compare(signal) };
    }
    const page = pageOf(this.#known.whole, from);
    if (from + page.rows.length >= page.total) this.#known = null;
    return page;
  }
}

export async function compareWith({
  tree,
  now,
  id,
  wallMs,
  signal,
  projects,
  backup,
}: CompareOptions): Promise<WholeComparison> {
  const notes: string[] = [];
  const named = await projects().catch((error: unknown) => {
    notes.push(`GitLab does not tell its projects' names: ${sentenceOf(error)}`);
    return null;
  });
  const names = { nameOf: storedNames(named), signal };
  const side = thenSide(tree, id);
  let at = side?.at ?? 0;
  const compared = async (): Promise<Compared> => {
    if (side !== null) {
      if (side.bulk === null) notes.push('of artifacts and packages there is nothing of then here');
      return compareData({ live: side.live, bulk: side.bulk ?? now.bulk }, now, names);
    }
    if (!/^[0-9a-f]{6,64}$/.test(id)) throw notHere(`${id} is not on this machine, or was thinned meanwhile`);
    const opened = await backup();
    at = opened.at;
    return compareBackup(opened.list, now, names);
  };
  const found = await compared().catch((cause: unknown) => {
    if (!isLate(signal)) throw cause;
    throw new AutogitError('backup', `${id} could not be compared in time: its disk, or its place, is slow`, {
      cause,
      hint: 'once less is done there, the same command again',
    });
  });
  notes.push(...found.notes);
  const { rows, files } = found;
  const passedMs = at === 0 ? 0 : Math.max(0, Math.round(wallMs - at));
  return { ...{ at, passedMs, rows, files: files.slice(0, 64) }, total: rows.length, notes: notes.map(asSentence) };
}

/** As much of it as one answer holds. */
export function pageOf(whole: WholeComparison, from: number): Comparison {
  let bytes = 0;
  const rows = whole.rows.slice(from, from + 1000).filter((row) => {
    bytes += Buffer.byteLength(JSON.stringify(row)) + 1;
    return bytes <= pageBytes;
  });
  return { ...whole, rows, from };
}
