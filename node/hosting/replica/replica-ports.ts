import type { Readable } from 'node:stream';
import type { NodeId } from '../../../protocol/ids.ts';
import type { RoundName } from '../../../protocol/round-name.ts';
import type { HeldRound } from '../../../scheduler/hosting/copies/held-rounds.ts';
import type { DatedRound } from '../../../scheduler/hosting/copies/thinning.ts';
import type { SystemTools } from '../system-tools.ts';
import type { ToldRound } from '../wire/frames.ts';
import type { Urgency } from '../wire/turns.ts';

/**
 * `hot`: configuration, database, repositories, queues, one instant; what a push waits for. `bulk`: artifacts and the like,
 * behind it, under the same names.
 */
export type RoundPart = 'hot' | 'bulk';

/** One part of a round, complete on this machine's disk. */
export interface Round extends DatedRound {
  part: RoundPart;
  /** The round's identity on every machine: the first sender's UUID of it. */
  uuid: string;
  /** What it was sent as a difference to; null for a whole copy and on the host. */
  parent: RoundName | null;
  /** When it was taken, by the host's wall clock: for people's eyes only. */
  wallMs: number;
}

/** A moment by the time of one boot, which no wall clock's jump touches. */
export interface BootMoment {
  boot: string;
  ms: number;
}

/** A round on its way. The reader hears only from `done` whether the sender came to its end: a stream that stops says nothing. */
export interface RoundSource {
  stream: Readable;
  done: Promise<void>;
  /** Ends the sender by its pid: a snapshot that a stalled one reads cannot be deleted. */
  end(): void;
}

export interface Sending {
  /** What all machines keep of that part, whatever they thin. */
  pins: readonly RoundName[];
  urgency: Urgency;
  /** It told that so many bytes of the round have arrived; told again each second while it works on them. One of before tells nothing. */
  told(bytes: number): void;
  /** The host gives it up; its source was ended already. */
  signal: AbortSignal;
}

/** A machine that holds copies, as the host reaches it. */
export interface Standby {
  readonly node: NodeId;
  /** The handshake: what it holds of that part, complete on its disk. */
  held(part: RoundPart): Promise<HeldRound[]>;
  /** Returns when the round is on its disk: that is the acknowledgement. */
  take(round: Round, source: RoundSource, sending: Sending): Promise<void>;
}

/** The same machine's own end of it. What it throws is told to the host as the reason. */
export interface RoundTaker {
  held(part: RoundPart): Promise<HeldRound[]>;
  take(round: Round, source: RoundSource, pins: readonly RoundName[]): Promise<void>;
}

/** A round on its way back to the host; `source` null: the host holds all of it already. */
export interface Gift {
  round: Round;
  source: RoundSource | null;
}

/** The same machine as it gives rounds back. What it throws is told to the host as the reason. */
export interface RoundGiver {
  dated(): Promise<ToldRound[]>;
  /** Of the bulk part the round that goes with that name. It stays until `given`. */
  give(part: RoundPart, name: RoundName, has: readonly { name: RoundName; uuid: string }[]): Promise<Gift>;
  given(gift: Gift): void;
}

/** The copies of one part of a data place on this machine. Host and standby have the same one: roles are swapped. */
export interface Replica {
  readonly part: RoundPart;
  /** At the agent's start, before anything is counted or reported: one sync, then all that has no marker is deleted. */
  open(): Promise<Round[]>;
  rounds(): Round[];
  /** Host: returns when the round is on the disk and marked. */
  snapshot(name: RoundName, atMs: number, moment?: BootMoment): Promise<Round>;
  /** When it was taken here; null: of a round that was received, or that an earlier version took. */
  momentOf(round: Round): BootMoment | null;
  /** Host: whether anything was written since that round. `isCommitted`: all of it is in the file system's trees by now. */
  hasChanged(since: Round, isCommitted?: boolean): Promise<boolean>;
  /** What a difference to that round may start from: others of the same living data, and what these were made from. */
  parentsFor(round: Round): Round[];
  send(round: Round, parent: Round | null): RoundSource;
  /**
   * Standby: returns when the round is on the disk and marked; that is the acknowledgement. `makeRoom` is called now and then
   * while it comes; what that throws ends it.
   */
  receive(round: Round, source: RoundSource, makeRoom?: () => Promise<void>): Promise<void>;
  remove(rounds: readonly Round[]): Promise<void>;
}

/** Those of a data place, and the streams of rounds. */
export interface ReplicaTools extends SystemTools {
  read(file: string, args: readonly string[]): RoundSource;
  feed(file: string, args: readonly string[], stream: Readable): Promise<void>;
}
