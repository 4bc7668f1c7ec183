import { mkdirSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Freezer } from '../ports.ts';
import { isRecord, overwrite, readSeen, readTold, seenText, writeTold } from './told-file.ts';

export interface BeatRun {
  run: string;
  /** ms of boot time until which the run may go on if no newer beat comes. */
  until: number;
  freeze: Freezer;
  /** True while the agent itself holds it frozen: then the agent thaws it, not the watchdog. */
  held?: boolean | undefined;
  /** A hosted GitLab, no run: an agent that starts anew goes on telling of it until it knows better. */
  isService?: boolean | undefined;
}

/** What the agent tells its watchdog, at least every 500 ms while it has runs or hosts GitLab. All of them, every time. */
export interface Beat {
  bootId: string;
  /** Which beat it is: the watchdog says which one it has read. Absent in beats of an earlier version. */
  id?: string | undefined;
  runs: BeatRun[];
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isPath = (value: unknown): boolean => isText(value) && value.startsWith('/');
const isListOf = (value: unknown, most: number, holds: (one: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length <= most && value.every(holds);

function isFreeze(value: unknown): boolean {
  if (!isRecord(value)) return false;
  if (value.kind === 'cgroup')
    return isPath(value.path) && (value.also === undefined || isListOf(value.also, 100, isPath));
  const { kind, marker, marks } = value;
  if (kind !== 'pgid' || !isText(marker)) return false;
  if (marks === undefined) return true;
  if (!isRecord(marks) || !Number.isFinite(marks.uid) || typeof marks.isUidAlone !== 'boolean') return false;
  return isListOf(marks.entries, 20, (entry) => typeof entry === 'string') && isListOf(marks.places, 20, isPath);
}

const isRun = (value: unknown): boolean =>
  isRecord(value) &&
  isText(value.run) &&
  Number.isFinite(value.until) &&
  isFreeze(value.freeze) &&
  [value.held, value.isService].every((flag) => flag === undefined || typeof flag === 'boolean');

const isBeat = (value: unknown): value is Beat =>
  isRecord(value) &&
  typeof value.bootId === 'string' &&
  (value.id === undefined || (typeof value.id === 'string' && value.id.length <= 64)) &&
  isListOf(value.runs, 1000, isRun);

const beatFile = (home: string): string => join(home, 'watchdog.json');
const seenFile = (home: string): string => join(home, 'watchdog.seen');

/** One at a time. */
export async function writeBeat(home: string, beat: Beat): Promise<void> {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  // Not in the event loop: to free what stood there takes milliseconds on a disk that is told of it (discard).
  await writeTold(beatFile(home), beat, 0o600, rename);
}

/** The watchdog's word that it has read a beat. */
export function sayRead(home: string, id: string): void {
  const text = seenText(id);
  try {
    overwrite(seenFile(home), text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    writeFileSync(seenFile(home), text, { mode: 0o600 });
  }
}

/** The newest beat that a watchdog has read; null when none has said so. */
export const readBeatId = (home: string): string | null => readSeen(seenFile(home));

/** Null when there is none, or what is there makes no sense: the last good one then stays in force. */
export const readBeat = (home: string): Beat | null => readTold(beatFile(home), isBeat);

interface Watching {
  freeze: BeatRun[];
  thaw: BeatRun[];
}

/**
 * What to do at this moment (SAFETY H2, H3, J1). `frozen` has the runs that the watchdog itself froze: only those does it thaw, and only
 * when a beat lets them go on and the agent does not hold them.
 */
export function watch(runs: readonly BeatRun[], frozen: Pick<ReadonlySet<string>, 'has'>, nowMs: number): Watching {
  return {
    freeze: runs.filter((run) => nowMs > run.until && !frozen.has(run.run)),
    thaw: runs.filter((run) => nowMs <= run.until && frozen.has(run.run) && run.held !== true),
  };
}
