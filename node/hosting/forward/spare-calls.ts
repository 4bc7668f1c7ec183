import type { ForwardTarget } from './forward-files.ts';
import { GateCall } from './gate-call.ts';

type Gate = NonNullable<ForwardTarget['gate']>;

const limits = {
  /** A browser opens some at once. */
  kept: 4,
  /** The gate shuts what shows nothing for 5 s. */
  keptMs: 4000,
} as const;

/**
 * Connections to the gate that are made before anybody needs them, for the next clients: whoever comes waits for one answer of the
 * gate's, and not for three. None while nobody comes.
 */
export class SpareCalls {
  #kept: { way: string; call: GateCall; end: NodeJS.Timeout }[] = [];
  #hasEnded = false;

  take(address: string, gate: Gate): GateCall | null {
    const way = wayOf(address, gate);
    this.#drop((one) => one.way !== way || !one.call.isThere);
    const found = this.#kept.shift();
    clearTimeout(found?.end);
    return found?.call ?? null;
  }

  prepare(address: string, gate: Gate): void {
    const way = wayOf(address, gate);
    this.#drop((one) => one.way !== way || !one.call.isThere);
    while (!this.#hasEnded && this.#kept.length < limits.kept) {
      const call = new GateCall(address, gate);
      const end = setTimeout(() => this.#drop((one) => one.call === call), limits.keptMs);
      this.#kept.push({ way, call, end });
    }
  }

  end(): void {
    this.#hasEnded = true;
    this.#drop(() => true);
  }

  #drop(isOver: (one: { way: string; call: GateCall }) => boolean): void {
    for (const { call, end } of this.#kept.filter(isOver)) {
      clearTimeout(end);
      call.behind.destroy();
    }
    this.#kept = this.#kept.filter((one) => !isOver(one) && !one.call.behind.destroyed);
  }
}

const wayOf = (address: string, { port, key }: Gate): string => `${address} ${port} ${key}`;
