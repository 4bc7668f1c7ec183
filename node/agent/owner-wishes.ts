import type { Run } from '../../protocol/ledger.ts';
import type { Measured } from '../../protocol/report.ts';
import { type GiveWay, type Way, wayOf } from '../settings/give-way.ts';

interface WantedNow {
  what: 'gpu' | 'all';
  way: Way | null;
}

/** What the owner said by hand: no new work, and perhaps what becomes of the work that is here. */
export interface PauseState {
  paused: Measured['paused'];
  because: string | null;
  /** By `pause --now`: of which runs, and how where that was said with it. */
  now: WantedNow | null;
  /** By one that was typed before that, and lasts: for what the later one leaves alone. */
  nowBefore?: WantedNow | undefined;
  /** The owner's hours, while they last: as a part of a sentence. */
  hours?: { what: 'gpu' | 'all'; because: string } | undefined;
}

/** Something of this machine that its owner wants now. Pure: signals in, runs that are in the way out. */
interface OwnerWish {
  /** Uuids of GPUs; null: the whole machine. */
  gpus: readonly string[] | null;
  /** As a part of a sentence: "its owner plays". */
  because: string;
  /** Of a command that was typed for it: how, where that was said with it. */
  now: { way: Way | null } | null;
}

export function ownerWishes(pause: PauseState, measured: Measured | null): OwnerWish[] {
  const all = (measured?.capacity.gpus ?? []).map(({ uuid }) => uuid);
  const wishes: OwnerWish[] = [];
  for (const { what, way } of [pause.now, pause.nowBefore].filter((one) => one != null))
    wishes.push({ gpus: what === 'all' ? null : all, because: ownerWants(what), now: { way } });
  const { hours } = pause;
  if (hours) wishes.push({ gpus: hours.what === 'all' ? null : all, because: hours.because, now: null });
  const plays = measured?.plays === undefined ? 'its owner plays' : `its owner plays (${measured.plays})`;
  if (measured?.owner === 'playing') wishes.push({ gpus: all, because: plays, now: null });
  for (const { uuid, foreign, usedBy, problem } of measured?.gpus ?? [])
    if (foreign && problem === undefined)
      wishes.push({ gpus: [uuid], because: `${usedBy ?? 'a program'} of its owner uses its GPU`, now: null });
  return wishes;
}

/** The sentence that the job's owner reads. */
export const ownerWants = (what: 'gpu' | 'all'): string =>
  `the owner of its machine wants ${what === 'gpu' ? 'the GPU' : 'the machine'} now`;

const isUnderWay = ({ state }: Run): boolean => state === 'taken' || state === 'running';

const isInTheWay = (run: Run, { gpus, now }: OwnerWish): boolean => {
  if (gpus === null) return true;
  // A card that was not measured yet is in the way of who asked by hand all the same.
  return now !== null ? run.gpus.length > 0 : run.gpus.some((uuid) => gpus.includes(uuid));
};

/** What a run is to do, and why: the first wish that it is in the way of, those of a command before all others. */
export function wayFor(run: Run, wishes: readonly OwnerWish[], rules: GiveWay): { way: Way; because: string } | null {
  if (!isUnderWay(run)) return null;
  const wish = wishes.find((one) => isInTheWay(run, one));
  if (wish === undefined) return null;
  const way = wish.now?.way ?? wayOf(rules, run.tags, wish.now === null ? 'finish' : 'end');
  return { way, because: wish.because };
}
