import type { NodeId } from '../../protocol/ids.ts';

/** ms: how long a sighting counts, and how often one stranger is told to the agent again. */
const sightingMs = 60_000;
const againMs = 5000;
const kept = 64;

/** Agents in sight that are no members of our mesh. Small, whatever the LAN claims: the one seen longest ago goes. */
export class StrangerList {
  #seen = new Map<NodeId, { at: number; told: number }>();

  /** Notes a sighting at `now` (ms). `isNew`: never seen before; `tell`: the agent should hear of it (again). */
  saw(node: NodeId, now: number): { isNew: boolean; tell: boolean } {
    const before = this.#seen.get(node);
    const tell = !before || now - before.told >= againMs;
    this.#seen.delete(node);
    this.#seen.set(node, { at: now, told: tell ? now : before.told });
    for (const old of [...this.#seen.keys()].slice(0, Math.max(0, this.#seen.size - kept))) this.#seen.delete(old);
    return { isNew: !before, tell };
  }

  forget(node: NodeId): void {
    this.#seen.delete(node);
  }

  recent(now: number): NodeId[] {
    return [...this.#seen].filter(([, { at }]) => now - at < sightingMs).map(([node]) => node);
  }
}
