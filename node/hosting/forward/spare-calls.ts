import type { ForwardTarget } from './forward-files.ts';
import { GateCall, GateRefuses } from './gate-call.ts';

type Gate = NonNullable<ForwardTarget['gate']>;

const limits = {
  /** A browser opens some at once. */
  kept: 4,
  /** They are work for both processes, which the client who has just come need not wait for. */
  behindMs: 10,
  /** The gate shuts what shows nothing for 5 s. */
  keptMs: 4000,
} as const;

interface Kept {
  way: string;
  call: GateCall;
  end: NodeJS.Timeout;
  /** ms of performance.now(). */
  untilMs: number;
}

/**
 * Connections to the gate that are made before anybody needs them, and proven at both ends, for the next clients: whoever comes waits
 * for no answer of the gate's. None while nobody comes.
 */
export class SpareCalls {
  #kept: Kept[] = [];
  /** The gate there is one of before, and knows nobody but with his client. */
  #older: string | null = null;
  #soon: NodeJS.Timeout | null = null;
  #hasEnded = false;

  take(address: string, gate: Gate): GateCall | null {
    const way = wayOf(address, gate);
    // This process may have stood still.
    const now = performance.now();
    this.#drop((one) => one.way !== way || !one.call.isThere || now >= one.untilMs);
    const found = this.#kept.shift();
    clearTimeout(found?.end);
    return found?.call ?? null;
  }

  /** Once the client who has just come has its answer, mostly. `node`: this machine, as the gate knows it. */
  prepare(address: string, gate: Gate, node: string): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      this.#make(address, gate, node);
    }, limits.behindMs);
  }

  #make(address: string, gate: Gate, node: string): void {
    const way = wayOf(address, gate);
    this.#drop((one) => one.way !== way || !one.call.isThere);
    while (!this.#hasEnded && this.#kept.length < limits.kept) {
      const call = new GateCall(address, gate, this.#older === way ? null : node);
      const end = setTimeout(() => this.#drop((one) => one.call === call), limits.keptMs);
      this.#kept.push({ way, call, end, untilMs: performance.now() + limits.keptMs });
    }
  }

  end(): void {
    this.#hasEnded = true;
    if (this.#soon !== null) clearTimeout(this.#soon);
    this.#drop(() => true);
  }

  #drop(isOver: (one: Kept) => boolean): void {
    for (const { call, end, way } of this.#kept.filter(isOver)) {
      if (call.failed instanceof GateRefuses) this.#older = way;
      clearTimeout(end);
      call.behind.destroy();
    }
    this.#kept = this.#kept.filter((one) => !isOver(one) && !one.call.behind.destroyed);
  }
}

const wayOf = (address: string, { port, key }: Gate): string => `${address} ${port} ${key}`;
