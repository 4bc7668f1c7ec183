import { roundText } from '../../protocol/round-name.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { Agent } from './agent.ts';
import type { Machine } from './machine.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/** What people were told of these data: the last number that is written, and the last that other machines have too. */
interface Told {
  all: number;
  kept: number;
}

/**
 * No move loses what was acknowledged while somebody was in sync; a planned one loses nothing at all, and lets nobody in where it may still
 * go back from (SAFETY H7, H10), from above. What was answered is kept here, and asked of whichever machine lets people in next.
 */
export class MoveRule {
  readonly #world: World;
  /** By era and data. */
  readonly #told = new Map<string, Told>();
  /** Era and data -> who let people in last. */
  readonly #servedBy = new Map<string, string>();
  /** Era and data that moved since their host was silent, and have not been served since. */
  readonly #takenOver = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  answered({ state }: Agent, data: string, writes: number, isKept: boolean): void {
    const key = `${state.raft.accepted.era.id} ${data}`;
    const { all, kept } = this.#told.get(key) ?? { all: 0, kept: 0 };
    this.#told.set(key, { all: Math.max(all, writes), kept: isKept ? Math.max(kept, writes) : kept });
    if (isKept) this.#world.rare.saw('push acknowledged by an in-sync set');
  }

  keptOf = (era: string, data: string): number => this.#told.get(`${era} ${data}`)?.kept ?? 0;

  takenOver(era: string, data: string): void {
    this.#takenOver.add(`${era} ${data}`);
  }

  /** The machine that the ledger names makes its data: it has promised that round, and may not have let it go. */
  begins({ machine, life, ledger }: Agent, { data, epoch, copies }: Hosting, writes: number | undefined): void {
    if ((ledger?.era.counter ?? 0) > 0) return;
    const base = copies?.bases[epoch];
    must(
      writes !== undefined,
      'what-an-epoch-begins-with-stays',
      () =>
        `${life} is to begin epoch ${epoch} of ${data} with ${base && roundText(base)}, which ${machine.id} does not hold`,
    );
  }

  /** The gate of that machine lets people in. */
  opened({ id, hosted }: Machine): void {
    const { passage, era, services, volume } = hosted;
    if (passage.kind !== 'open') return;
    const service = services.get(passage.upstream);
    if (service === undefined) return;
    const key = `${era} ${service.data}`;
    const told = this.#told.get(key) ?? { all: 0, kept: 0 };
    const before = this.#servedBy.get(key);
    if (before !== undefined && before !== id) this.#world.rare.saw('GitLab served by another machine after a move');
    this.#servedBy.set(key, id);
    const isTakenOver = this.#takenOver.delete(key);
    if (isTakenOver) this.#world.rare.saw('GitLab served after an unplanned move');
    const least = isTakenOver ? told.kept : told.all;
    must(
      volume !== null && volume.data === service.data && volume.writes >= least,
      isTakenOver ? 'an-unplanned-move-keeps-what-was-acknowledged' : 'a-planned-move-loses-nothing',
      () => `${id} lets people in to ${JSON.stringify(volume)}, and ${least} was answered, by ${before}`,
    );
    // What no other machine had is gone from here on, and said so.
    if (isTakenOver) this.#told.set(key, { all: Math.min(told.all, volume!.writes), kept: told.kept });
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
