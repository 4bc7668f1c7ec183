import type { EffectOf, Write } from '../../scheduler/effects.ts';
import type { Agent } from './agent.ts';
import type { World } from './world.ts';

/**
 * The twin of node/agent/persist-queue.ts on a virtual disk: one write in flight, what comes meanwhile goes out as one
 * batch after it. A crash loses what is queued, and the write in flight lands or not.
 */
export class PersistTwin {
  #waiting: EffectOf<'persist'>[] = [];
  /** All writes of the batch, in order: of each key only the last reaches the disk, but what it replaced was kept too. */
  #inFlight: Write[] | null = null;
  #isDead = false;
  readonly #world: World;
  readonly #agent: Agent;
  readonly #done: (effect: EffectOf<'persist'>) => void;

  constructor(world: World, agent: Agent, done: (effect: EffectOf<'persist'>) => void) {
    this.#world = world;
    this.#agent = agent;
    this.#done = done;
  }

  add(effect: EffectOf<'persist'>): void {
    this.#waiting.push(effect);
    if (this.#inFlight === null) this.#drain();
  }

  crash(): void {
    this.#isDead = true;
    if (this.#inFlight !== null && this.#world.chance.maybe(0.5)) this.#land(this.#inFlight);
    else if (this.#inFlight !== null) this.#world.figures.add('writes lost in a crash');
  }

  #drain(): void {
    const batch = this.#waiting;
    this.#waiting = [];
    this.#inFlight = batch.flatMap((effect) => effect.writes);
    this.#try(batch);
  }

  #try(batch: EffectOf<'persist'>[]): void {
    const { machine } = this.#agent;
    this.#world.timeline.after(this.#world.faults.fsyncMs(machine.id), () => {
      if (this.#isDead) return;
      if (this.#world.faults.isDiskFailing(machine.id)) {
        if (!this.#agent.isStoreFailing && this.#agent.state.raft.leading)
          this.#world.rare.saw('leader with a sick store');
        this.#agent.isStoreFailing = true;
        return this.#try(batch);
      }
      this.#agent.isStoreFailing = false;
      this.#land(this.#inFlight ?? []);
      this.#inFlight = [];
      this.#agent.later(() => {
        for (const effect of batch) if (!this.#isDead) this.#done(effect);
        this.#inFlight = null;
        if (!this.#isDead && this.#waiting.length > 0) this.#drain();
      });
    });
  }

  #land(writes: Write[]): void {
    const { machine } = this.#agent;
    const last = new Map<string, Write>();
    for (const write of writes) last.set(write.key, write);
    const before = machine.disk.store;
    machine.disk.write([...last.values()]);
    this.#world.checks.landed(machine, writes, before);
  }
}
