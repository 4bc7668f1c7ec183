import type { NodeId } from '../../protocol/ids.ts';
import { Waiters } from '../waiters.ts';

/** ms for which a sighting counts. */
const sightingMs = 60_000;
const kept = 64;

/** What a stranger claims of its mesh: an id, null for none, undefined when it claims nothing. */
export type MeshHint = string | null | undefined;

/** Agents in sight that are no members of our mesh. The list stays small whatever the LAN claims: the one seen longest ago is dropped. */
export class StrangerList {
  #seen = new Map<NodeId, { at: number; mesh: MeshHint }>();
  readonly #changed = new Waiters();

  /** Notes a sighting at `now` (ms); true: never seen before. */
  saw(node: NodeId, mesh: MeshHint, now: number): boolean {
    const before = this.#seen.get(node);
    this.#seen.delete(node);
    this.#seen.set(node, { at: now, mesh });
    for (const old of [...this.#seen.keys()].slice(0, Math.max(0, this.#seen.size - kept))) this.#seen.delete(old);
    if (!before || before.mesh !== mesh) this.#changed.wake();
    return !before;
  }

  forget(node: NodeId): void {
    this.#seen.delete(node);
  }

  recent(now: number): { node: NodeId; mesh: MeshHint }[] {
    return [...this.#seen].filter(([, { at }]) => now - at < sightingMs).map(([node, { mesh }]) => ({ node, mesh }));
  }

  /** Resolves when a stranger comes into sight or says something else of its mesh, after `ms` at the latest. */
  change(ms: number): Promise<void> {
    return this.#changed.wait(ms);
  }
}
