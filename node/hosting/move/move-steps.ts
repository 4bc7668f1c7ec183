import type { NodeId } from '../../../protocol/ids.ts';
import type { RoundName } from '../../../protocol/round-name.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import { type GitlabLife, gitlabTimings } from '../gitlab-state.ts';

/** What one of the two machines of a planned move knows of itself, at one look. */
export interface MoveLook {
  self: NodeId;
  /** As committed. */
  hosting: Hosting;
  /** On this disk since before the gate was closed for this epoch: an agent that comes next goes on with the move, or ends it. */
  isBegun: boolean;
  /** The gate here has said that it is closed for this epoch. */
  isClosed: boolean;
  /** No container of this epoch is here. */
  hasEnded: boolean;
  /** At the former host: the other machine has all that it needs, and is in sync. */
  isReady: boolean;
  /** At the former host: the round that was taken after both, on this disk; and whether all of it is on the other machine's. */
  last: RoundName | null;
  hasArrived: boolean;
  /** At the new host: GitLab works. */
  works: boolean;
  /** At the new host, on this disk: the ledger was asked to have it stand, and may do so at any time from then on. */
  isSaid: boolean;
  /** What speaks against going on; null while nothing does. */
  vain: string | null;
  /** Why it was given up in this epoch, on this disk; null where it was not. An agent that comes next finds a gate that is closed. */
  givenUp: string | null;
}

/**
 * What is to be done next. `begin`: the journal is written; `close`: the gate, for this epoch and for good; `round`: all that GitLab
 * has; `give-up`: that is written down, before any gate is closed for it; `moved`, `stands`, `ends`: the ledger is told. `say`: it is written down
 * that `stands` is asked for, after which it is not given up by itself: that may be committed, and a closed gate could not serve it; `try`: it is started as any other, behind the shut gate.
 */
export type MoveStep =
  | { kind: 'none' | 'wait' | 'begin' | 'close' | 'end' | 'round' | 'send' | 'try' | 'say' | 'stands' }
  | { kind: 'give-up'; because: string }
  | { kind: 'moved'; base: RoundName }
  | { kind: 'ends'; isClosed: boolean; because: string };

/** It has moved there, and has yet to stand: until the ledger says so the gate lets nobody in, for it may go back. */
export const isOnTrial = ({ move, host }: Pick<Hosting, 'move' | 'host'>): boolean => move?.to === host;

export function nextMoveStep(look: MoveLook): MoveStep {
  const { self, hosting, vain } = look;
  const { host, move } = hosting;
  if (move === undefined || host !== self) return { kind: 'none' };
  // Said already: the leader goes on to the next machine.
  if (move.unplanned?.failed !== undefined) return { kind: 'wait' };
  if (look.givenUp !== null) return ended(look, look.givenUp);
  if (look.isSaid) return { kind: look.works ? 'stands' : 'try' };
  if (vain !== null && (look.isBegun || isOnTrial(hosting))) return { kind: 'give-up', because: vain };
  if (isOnTrial(hosting)) return { kind: look.works ? 'say' : 'try' };
  if (vain !== null) return { kind: 'ends', isClosed: false, because: vain };
  if (!look.isBegun) return { kind: look.isReady ? 'begin' : 'wait' };
  if (!look.isClosed) return { kind: 'close' };
  if (!look.hasEnded) return { kind: 'end' };
  if (look.last === null) return { kind: 'round' };
  return look.hasArrived ? { kind: 'moved', base: look.last } : { kind: 'send' };
}

/** What is known of GitLab at its new host. */
interface TrialLook {
  life: Pick<GitlabLife, 'hasWorked' | 'faults' | 'fault' | 'because' | 'bootMs'>;
  mayRun: boolean;
  /** Why the gate here goes by no lease, though the mesh may give one; null where nothing is wrong with it. */
  gateProblem: string | null;
  tookMs: number;
}

export const trialTimings = {
  /** So many starts in a row failed. */
  faultsMost: 2,
  /** Where no gate can stand nothing is ever started, so nothing fails; what holds it up may be over in a moment. */
  gateMs: 120_000,
} as const;

/** Why it does not come up where it moved to; null while it may. */
export function whyNotUp({ life, mayRun, gateProblem, tookMs }: TrialLook): string | null {
  if (life.hasWorked) return null;
  const isInVain = life.faults >= trialTimings.faultsMost || (life.faults > 0 && tookMs >= gitlabTimings.hardBootMs);
  if (isInVain) return life.fault ?? life.because;
  const isShut = gateProblem !== null && !mayRun && life.bootMs === 0;
  return isShut && tookMs >= trialTimings.gateMs ? gateProblem : null;
}

/** The next epoch begins elsewhere, or anew: this one's gate is closed first, and what runs has ended (SAFETY H7). */
function ended({ isClosed, hasEnded }: MoveLook, because: string): MoveStep {
  if (!isClosed) return { kind: 'close' };
  return hasEnded ? { kind: 'ends', isClosed: true, because } : { kind: 'end' };
}

/**
 * The round of another epoch of which GitLab's data here must be made before they are served; null where this epoch began with the
 * data that its host had, or those that are here are the ledger's. `marked`: the epoch of the marker in them, null where there are none.
 */
export function wantedBase(
  { copies, epoch }: Pick<Hosting, 'copies' | 'epoch'>,
  marked: number | null,
): RoundName | null {
  const base = copies?.bases[epoch];
  return marked === epoch || base === undefined || base.epoch >= epoch ? null : base;
}
