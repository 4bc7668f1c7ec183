import type { Agent } from './agent.ts';
import type { Machine } from './machine.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/**
 * A planned move loses nothing, and lets nobody in where it may still go back from (SAFETY H7, H10), from above. What was answered
 * is kept here, and asked of whichever machine lets people in next.
 */
export class MoveRule {
  readonly #world: World;
  /** Era and data -> the last number that somebody was told is written. */
  readonly #answered = new Map<string, number>();
  /** Era and data -> who let people in last. */
  readonly #servedBy = new Map<string, string>();

  constructor(world: World) {
    this.#world = world;
  }

  answered({ state }: Agent, data: string, writes: number): void {
    this.#answered.set(`${state.raft.accepted.era.id} ${data}`, writes);
  }

  /** The gate of that machine lets people in. */
  opened({ id, hosted }: Machine): void {
    const { passage, era, services, volume } = hosted;
    if (passage.kind !== 'open') return;
    const service = services.get(passage.upstream);
    if (service === undefined) return;
    const key = `${era} ${service.data}`;
    const answered = this.#answered.get(key) ?? 0;
    const before = this.#servedBy.get(key);
    if (before !== undefined && before !== id)
      this.#world.rare.saw('GitLab served by another machine after a planned move');
    this.#servedBy.set(key, id);
    must(
      volume !== null && volume.data === service.data && volume.writes >= answered,
      'a-planned-move-loses-nothing',
      () => `${id} lets people in to ${JSON.stringify(volume)}, and ${answered} was answered, by ${before}`,
    );
    const now = this.#world.history.topOf({ id: era })?.ledger.gitlab;
    if (now?.mode !== 'hosted' || now.epoch !== passage.epoch) return;
    must(
      now.hosted?.move?.to !== now.host,
      'nobody-is-let-in-before-it-stands',
      () =>
        `${id} lets people in to epoch ${now.epoch}, from which GitLab may still go back to ${now.hosted?.move?.from}`,
    );
  }
}
