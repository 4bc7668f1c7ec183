import { Ledger, type Run } from '../../protocol/ledger.ts';
import { type Stamp, zeroStamp } from '../../protocol/stamp.ts';
import type { Durable, Write } from '../../scheduler/effects.ts';

const nothing: Record<keyof Durable, string> = {
  promise: JSON.stringify({ term: 0, votedFor: null }),
  accepted: 'null',
  committed: 'null',
  asking: '[]',
};

/** What survives a crash: the store's id, the core's documents as JSON, and the records of this node's runs. */
export class Disk {
  store: string;
  readonly values: Record<keyof Durable, string>;
  readonly runs = new Map<string, string>();

  constructor(store: string) {
    this.store = store;
    this.values = { ...nothing };
  }

  write(writes: readonly Write[]): void {
    for (const { key, value } of writes) this.values[key] = JSON.stringify(value);
  }

  putRun(run: Run): void {
    this.runs.set(run.run, JSON.stringify(run));
  }

  load(): Durable {
    const { promise, accepted, committed, asking } = this.values;
    return {
      promise: JSON.parse(promise),
      accepted: Ledger.nullable().parse(JSON.parse(accepted)),
      committed: Ledger.nullable().parse(JSON.parse(committed)),
      asking: JSON.parse(asking),
    };
  }

  get isEmpty(): boolean {
    return this.values.accepted === 'null';
  }

  get asking(): Durable['asking'] {
    return JSON.parse(this.values.asking);
  }

  stampOf(key: 'accepted' | 'committed'): Stamp {
    return JSON.parse(this.values[key])?.stamp ?? zeroStamp;
  }

  loadRuns(): Run[] {
    return [...this.runs.values()].map((text) => JSON.parse(text));
  }

  /** A copy as a snapshot would make it. */
  copy(): Disk {
    const copy = new Disk(this.store);
    Object.assign(copy.values, this.values);
    for (const [run, text] of this.runs) copy.runs.set(run, text);
    return copy;
  }
}
