import { Spread } from '../../gitlab-bridge/spread.ts';
import type { Stamp } from '../../protocol/stamp.ts';
import type { Executor } from '../ports.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Events of agent.log whose field says more: each is counted by the field's word. Words are ours, and few. */
const told: Readonly<Record<string, (fields: Fields) => string>> = {
  'leader-lost': ({ why }) => `${why}`,
  'run-finished': ({ state, fault }) => `${fault ?? state}`,
  'gitlab-state': ({ to }) => `${to}`,
};

const isNewer = (a: Stamp, b: Stamp): boolean => a.term > b.term || (a.term === b.term && a.version > b.version);

/** Ledgers on their way that are remembered: those of before have been committed with a later one. */
const stampsKept = 64;

/**
 * What this agent process has seen since it began, in numbers alone: counted where it happens, for a few additions each, and read
 * when somebody scrapes. One agent a process, so one of these.
 */
export class Counts {
  /** By event, and `event word` for those that are told apart. */
  readonly events = new Map<string, number>();
  /** Seconds that a job had waited at GitLab when this machine got it, by GitLab's own clock. */
  readonly queueSeconds = new Spread([1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]);
  /** Seconds from a run's beginning to its end, here. */
  readonly runSeconds = new Spread([1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10_800]);
  /** Seconds of one write of the store, its fsync included. */
  readonly storeSeconds = new Spread([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5]);
  /** Seconds from when a ledger was accepted here until this agent knew that it is committed. */
  readonly commitSeconds = new Spread([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5]);
  /** Places made for jobs (a container, a folder), and those that could not be made, by executor. */
  readonly places: Record<Executor['kind'], { made: number; failed: number }> = {
    docker: { made: 0, failed: 0 },
    process: { made: 0, failed: 0 },
  };
  #accepted: { stamp: Stamp; at: number }[] = [];

  event(event: string, fields: Fields): void {
    const word = told[event]?.(fields);
    const name = word === undefined ? event : `${event} ${word}`;
    this.events.set(name, (this.events.get(name) ?? 0) + 1);
    if (event === 'run-finished' && typeof fields.tookMs === 'number') this.runSeconds.add(fields.tookMs / 1000);
  }

  place(executor: Executor['kind'], end: 'made' | 'failed'): void {
    this.places[executor][end] += 1;
  }

  accepted(stamp: Stamp, at = performance.now()): void {
    this.#accepted.push({ stamp, at });
    if (this.#accepted.length > stampsKept) this.#accepted.shift();
  }

  /** Whatever was accepted before it is decided too. */
  committed(stamp: Stamp, at = performance.now()): void {
    for (const one of this.#accepted)
      if (one.stamp.term === stamp.term && one.stamp.version === stamp.version)
        this.commitSeconds.add((at - one.at) / 1000);
    this.#accepted = this.#accepted.filter((one) => isNewer(one.stamp, stamp));
  }
}

export const counts = new Counts();
