import type { Readable } from 'node:stream';
import type { SystemTools } from '../../node/hosting/system-tools.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import type { DatedRound } from './thinning.ts';

/** One round, complete on this machine's disk. */
export interface Round extends DatedRound {
  /** The round's identity on every machine: the first sender's UUID of it. */
  uuid: string;
  /** What it was sent as a difference to; null for a whole copy and on the host. */
  parent: RoundName | null;
}

/** A round on its way. The reader hears only from `done` whether the sender came to its end: a stream that stops says nothing. */
export interface RoundSource {
  stream: Readable;
  done: Promise<void>;
  /** Ends the sender by its pid: a snapshot that a stalled one reads cannot be deleted. */
  end(): void;
}

/** The copies of a data place on this machine. Host and standby have the same one: roles are swapped. */
export interface Replica {
  /** At the agent's start, before anything is counted or reported: one sync, then all that has no marker is deleted. */
  open(): Promise<Round[]>;
  rounds(): Round[];
  /** Host: returns when the round is on the disk and marked. */
  snapshot(name: RoundName, atMs: number): Promise<Round>;
  /** Host: whether anything was written since that round. */
  hasChanged(since: Round): Promise<boolean>;
  send(round: Round, parent: Round | null): RoundSource;
  /** Standby: returns when the round is on the disk and marked; that is the acknowledgement. */
  receive(round: Round, source: RoundSource): Promise<void>;
  remove(rounds: readonly Round[]): Promise<void>;
  /** The living data are those of this round from now on. */
  serve(round: Round): Promise<void>;
}

/** Those of a data place, and the streams of rounds. */
export interface ReplicaTools extends SystemTools {
  read(file: string, args: readonly string[]): RoundSource;
  feed(file: string, args: readonly string[], stream: Readable): Promise<void>;
}
