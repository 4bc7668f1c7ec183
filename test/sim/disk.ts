import { type Era, Ledger, type Run } from '../../protocol/ledger.ts';
import type { Durable, Write } from '../../scheduler/effects.ts';

/** What a virtual machine's snapshot, or a restored home, brings back. */
export interface DiskCopy {
  values: Durable;
  runs: Map<string, Run>;
}

/**
 * What survives a crash: the store's id, the core's documents, and the records of this node's runs. What is loaded has
 * gone through JSON and the schema, as from a real store.
 */
export class Disk {
  readonly runs = new Map<string, Run>();
  readonly #created: string;
  readonly #values: Durable = {
    promise: { term: 0, votedFor: null },
    accepted: null,
    committed: null,
    asking: [],
    store: null,
  };

  /** All ids that its store ever went by. */
  readonly ids = new Set<string>();

  /** `created`: the id with which its store came into being. */
  constructor(created: string) {
    this.#created = created;
    this.ids.add(created);
  }

  /** The id that its store goes by. */
  get store(): string {
    return this.#values.store ?? this.#created;
  }

  /** The id that it would go by with that copy on it. */
  storeOf({ values }: DiskCopy): string {
    return values.store ?? this.#created;
  }

  write(writes: readonly Write[]): void {
    for (const { key, value } of writes) Object.assign(this.#values, { [key]: value });
    this.ids.add(this.store);
  }

  load(): Durable {
    const { promise, accepted, committed, asking, store } = JSON.parse(JSON.stringify(this.#values));
    return {
      promise,
      accepted: Ledger.nullable().parse(accepted),
      committed: Ledger.nullable().parse(committed),
      asking,
      store,
    };
  }

  loadRuns(): Run[] {
    return [...this.runs.values()].map((run) => JSON.parse(JSON.stringify(run)));
  }

  copy(): DiskCopy {
    return { values: { ...this.#values }, runs: new Map(this.runs) };
  }

  restore({ values, runs }: DiskCopy): void {
    Object.assign(this.#values, values);
    this.runs.clear();
    for (const [id, run] of runs) this.runs.set(id, run);
  }

  get isEmpty(): boolean {
    return this.#values.accepted === null;
  }

  get asking(): Durable['asking'] {
    return this.#values.asking;
  }

  get promisedTerm(): number {
    return this.#values.promise.term;
  }

  /** Whether nothing on it speaks against a vote in that term; a vote of another era says nothing (SAFETY L15). */
  mayVoteIn(term: number, era: Era): boolean {
    const { promise, accepted } = this.#values;
    if (accepted !== null && accepted.era.id !== era.id) return true;
    return promise.term < term || (promise.term === term && promise.votedFor === null);
  }

  get accepted(): Ledger | null {
    return this.#values.accepted;
  }
}
