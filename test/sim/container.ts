import type { Run, RunResult } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { Machine } from './machine.ts';
import type { World } from './world.ts';

/** Every how many ms of its own clock the watchdog looks, and how long a freeze may take (SAFETY P). */
const watchdogMs = 250;

/**
 * A job's script on a machine. It outlives the agent. A watchdog, a process of its own, freezes it when its agent gave
 * no proof of contact for two seconds of the machine's clock (SAFETY J1); it does not run while the machine sleeps.
 */
export class Container {
  readonly run: Run;
  readonly result: RunResult;
  isFrozen = false;
  isOver = false;
  isDestroyed = false;
  /** Boot time of the last proof that the leader or GitLab was there. */
  contactAt: number;
  #remainingMs: number;
  #beganAt = 0;
  #life = 0;
  readonly #world: World;
  readonly machine: Machine;
  /** The agent that waits for the end, if one is alive. */
  onEnd: () => void = () => {};

  constructor(
    world: World,
    machine: Machine,
    run: Run,
    job: { durationMs: number; result: RunResult },
    contactAt: number,
  ) {
    this.#world = world;
    this.machine = machine;
    this.run = run;
    this.result = job.result;
    this.#remainingMs = job.durationMs;
    this.contactAt = contactAt;
    // Paused at birth if the watchdog would freeze it at once: its first look is at the start.
    if (machine.bootMs() - contactAt > sharedTimings.runLeaseMs) this.isFrozen = true;
    else this.resume();
    this.#watch();
  }

  /** The script makes progress right now, as far as a watchdog can know. */
  get isActive(): boolean {
    return !this.isOver && !this.isFrozen && this.machine.power === 'on';
  }

  /** Time stops for it: frozen, or its machine sleeps. */
  pause(): void {
    this.#remainingMs -= this.#world.now - this.#beganAt;
    this.#life += 1;
  }

  resume(): void {
    const life = ++this.#life;
    this.#beganAt = this.#world.now;
    this.#world.timeline.after(this.#remainingMs, () => {
      if (life === this.#life && !this.isOver && this.machine.power === 'on') this.#end();
    });
    this.#world.checks.runIsActive(this, this.machine);
  }

  freeze(): void {
    if (this.isFrozen || this.isOver) return;
    this.isFrozen = true;
    this.pause();
    this.#world.figures.add('runs frozen');
    this.#world.transcript.say(this.machine.id, `watchdog freezes ${this.run.run}`);
  }

  thaw(): void {
    if (!this.isFrozen || this.isOver) return;
    this.isFrozen = false;
    this.contactAt = this.machine.bootMs();
    this.#world.rare.saw('run frozen and thawed');
    this.#world.transcript.say(this.machine.id, `thaws ${this.run.run}`);
    this.resume();
  }

  destroy(because: string): void {
    if (this.isOver && this.isDestroyed) return;
    if (!this.isFrozen) this.#life += 1;
    this.isOver = true;
    this.isDestroyed = true;
    this.#world.checks.runEnded(this);
    this.#world.transcript.say(this.machine.id, `container of ${this.run.run} destroyed: ${because}`);
  }

  #end(): void {
    this.isOver = true;
    this.#life += 1;
    this.#world.checks.runEnded(this);
    this.#world.transcript.say(this.machine.id, `script of ${this.run.run} ended`);
    this.onEnd();
  }

  #watch(): void {
    const { boot } = this.machine;
    this.#world.timeline.after(watchdogMs / this.machine.rate, () => {
      if (this.isOver || this.machine.boot !== boot) return;
      if (this.machine.power === 'on' && this.machine.bootMs() - this.contactAt > sharedTimings.runLeaseMs)
        this.freeze();
      this.#watch();
    });
  }
}
