import type { Ledger } from '../../protocol/ledger.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { isOpen } from '../../scheduler/jobs/jobs-state.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

const hourMs = 3_600_000;
/** What a mesh may have run again within an hour: one job, and all of them. */
const most = { ofOne: 2, ofAll: 20 } as const;

/** SAFETY J3, J10: what the leader takes from GitLab's list, and what it has tried again. */
export class RetryRule {
  readonly #world: World;
  /** By root of the job: when. */
  readonly #made = new Map<number, number[]>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Only what nobody owns is rescued, and what is committed as wanted. */
  rescues(life: string, top: Ledger | undefined, job: number): void {
    must(
      top?.rescues?.[job] !== undefined,
      'rescue-is-committed-first',
      () => `${life} rescues job ${job}, and the committed ledger does not say so`,
    );
    const owner = Object.values(top?.runs ?? {}).find((run) => run.job === job && isOpen(run));
    must(!owner, 'rescue-what-nobody-owns', () => `${life} rescues job ${job}, which ${owner?.node} has`);
  }

  /** A next leader must know of it, and GitLab that the run is over, before it is asked for another one. */
  asks(life: string, top: Ledger | undefined, { run, job }: EffectOf<'retry-job'>): void {
    const shown = top?.faults?.[run]?.retry;
    must(
      shown !== undefined,
      'retry-is-committed-first',
      () => `${life} has job ${job} tried again, and the committed ledger says nothing of it`,
    );
    const open = Object.values(top?.runs ?? {}).find((other) => other.job === job && isOpen(other));
    must(!open, 'retry-what-is-over', () => `${life} has job ${job} tried again, which ${open?.node} has`);
  }

  /** GitLab has made another job of it because a leader asked. */
  made(root: number): void {
    const { now, history } = this.#world;
    const times = [...(this.#made.get(root) ?? []), now].filter((at) => now - at < hourMs);
    this.#made.set(root, times);
    // A recovery by force may forget what was tried.
    if ((history.top?.ledger.era.counter ?? 0) > 0) return;
    const all = [...this.#made.values()].flat().filter((at) => now - at < hourMs).length;
    must(
      times.length <= most.ofOne && all <= most.ofAll,
      'retries-have-a-budget',
      () => `job ${root} is tried again for the ${times.length}. time within an hour, of ${all} in this mesh`,
    );
  }
}
