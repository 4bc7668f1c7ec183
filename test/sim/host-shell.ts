import type { EffectOf } from '../../scheduler/effects.ts';
import type { Agent } from './agent.ts';
import { adminToken } from './gitlab-effects.ts';
import type { Machine } from './machine.ts';
import type { World } from './world.ts';

/**
 * The gate of a machine: a process beside the agent, which lives on when that is killed or stopped. It reads the lease that
 * it was given, by its machine's own clock, at every chunk; closed for an epoch, it never opens for it again.
 */
export interface Gate {
  era: string;
  epoch: number;
  /** ms of its machine's boot time. */
  until: number;
  /** The highest epoch that it is closed for, in that era. */
  closed: number;
}

export const isGateOpen = (machine: Machine): boolean => {
  const { power, gate } = machine;
  return power === 'on' && gate !== null && gate.epoch > gate.closed && gate.until > machine.bootMs();
};

/** The duties of node/hosting towards the core: a lease goes to the gate; what the ledger says is done, and said. */
export class HostShell {
  readonly #world: World;
  readonly #agent: Agent;
  #isAsking = false;

  constructor(world: World, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
  }

  hold({ epoch, until }: EffectOf<'hold-lease'>): void {
    const { machine, state } = this.#agent;
    const era = state.raft.accepted.era.id;
    const known = machine.gate?.era === era ? machine.gate : null;
    machine.gate = { era, epoch, until, closed: known?.closed ?? 0 };
    this.#world.leases.opened(machine);
    this.tend();
  }

  end({ epoch }: EffectOf<'end-lease'>): void {
    const { machine, state } = this.#agent;
    const { timeline, chance } = this.#world;
    const era = state.raft.accepted.era.id;
    timeline.after(chance.spread(0.2, 30), () => {
      // The gate reads it, whatever became of the agent; the agent hears that, if it still lives.
      if (machine.gate?.era === era) machine.gate.closed = Math.max(machine.gate.closed, epoch);
      this.#agent.later(() => this.#agent.feed({ kind: 'gate-closed', epoch }));
      this.tend();
    });
  }

  /** What the committed ledger wants of this machine, asked again until it is so. */
  tend(): void {
    const { machine, ledger, isAlive } = this.#agent;
    if (!isAlive || !ledger || this.#isAsking) return;
    const { mode, host, hosted, epoch, url } = ledger.gitlab;
    if (mode !== 'hosted' || host !== machine.id || !hosted) return;
    const { gate } = machine;
    const said = { data: hosted.data, epoch };
    const isOpenFor = gate !== null && gate.era === this.#agent.state.raft.accepted.era.id && gate.epoch >= epoch;
    const isClosed = !isOpenFor || gate.closed >= epoch;
    if (hosted.ending?.drained) {
      if (isClosed && this.#agent.state.hosting.closed >= epoch) this.#ask({ kind: 'gitlab-ended', ...said });
    } else if (url === null && gate?.epoch === epoch && isGateOpen(machine)) {
      this.#world.gitlab.beginsAnew(hosted.data);
      this.#ask({ kind: 'gitlab-stands', ...said, url: 'http://gitlab.lab', token: adminToken, instance: hosted.data });
    } else return;
    this.#isAsking = true;
    this.#world.timeline.after(hosted.ending ? 100 : 1000, () => {
      this.#isAsking = false;
      this.tend();
    });
  }

  #ask(change: Parameters<World['people']['ofShell']>[1]): void {
    this.#agent.later(() => this.#world.people.ofShell(this.#agent, change));
  }
}
