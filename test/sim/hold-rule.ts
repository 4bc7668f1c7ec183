import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { Agent } from './agent.ts';
import { require as must } from './violation.ts';

/**
 * SAFETY J2: a node that left and said when it is back loses no run for being away before then. Clocks differ by up to
 * 10 % from real time, each way.
 */
export class HoldRule {
  /** Since when a node is away that said when it is back, as the leaders' ledgers have it. */
  readonly #leftAt = new Map<string, number>();
  /** Since when a run is lost: one that was lost before its node left is failed at GitLab by each leader until GitLab knows. */
  readonly #lostAt = new Map<string, number>();

  publishes({ state }: Agent, { nodes, runs }: Ledger, now: number): void {
    if (state.raft.leading === null) return;
    for (const { run, state } of Object.values(runs))
      if (state === 'lost' && !this.#lostAt.has(run)) this.#lostAt.set(run, now);
    for (const [node, { left, backMs }] of Object.entries(nodes))
      if (!left || backMs === undefined) this.#leftAt.delete(node);
      else if (!this.#leftAt.has(node)) this.#leftAt.set(node, now);
  }

  loses({ life }: Agent, { run, node, because }: Run, ledger: Ledger | null | undefined, now: number): void {
    const listed = ledger?.nodes[node];
    const left = this.#leftAt.get(node);
    if (!listed?.left || listed.backMs === undefined || left === undefined) return;
    if (!because.includes('has not answered') || (this.#lostAt.get(run) ?? now) < left) return;
    must(
      now - left > 0.8 * listed.backMs,
      'a-hold-is-kept',
      () => `${life} loses ${run}: ${because}; ${node} left ${now - left} ms ago`,
    );
  }
}
