import { type GateLease, newerLease, type Passage, passage } from '../../node/hosting/gate/gate-lease.ts';
import type { FoundService } from '../../node/hosting/service-host.ts';
import { type BeatRun, watch } from '../../node/watchdog/watchdog-beat.ts';
import type { RoundName } from '../../protocol/round-name.ts';
import type { Machine } from './machine.ts';
import type { World } from './world.ts';

/** A container of GitLab. */
export interface HostedService extends FoundService {
  isRunning: boolean;
  /** The watchdog has it stand still. */
  isFrozen: boolean;
  /** ms of the world from which on it answers. */
  readonly worksAt: number;
}

const watchdogMs = 200;

/**
 * What of a hosted GitLab lives beside the agent on its machine: the gate, the watchdog, the containers, and what lies on the
 * disk. Gate and watchdog decide by the product's own functions, and by this machine's clock, whatever becomes of the agent.
 */
export class HostedMachine {
  /** What the engine knows, by id. */
  readonly services = new Map<string, HostedService>();
  /** All that this machine ever hosted. */
  readonly past: { data: string; epoch: number }[] = [];
  /** On the disk: whose GitLab this machine had last, and what of it is being replaced. */
  remembered: { data: string; epoch: number } | null = null;
  restoring: { data: string; epoch: number } | null = null;
  /** On the disk: GitLab's data, with the epoch of their marker and what was written last; rounds of them, how many were taken, and a move that was begun. */
  volume: { data: string; epoch: number; writes: number } | null = null;
  readonly held = new Map<string, number>();
  rounds = 0;
  /** What it served until another one took over beside it, by data and name; `looksAt`: when a person has had it compared. */
  readonly fenced = new Map<string, { name: string; data: string; epoch: number; writes: number; looksAt: number }>();
  moving: {
    data: string;
    epoch: number;
    to: string;
    last: RoundName | null;
    givenUp: string | null;
    isSaid?: boolean;
  } | null = null;
  /** Its data were replaced so often. */
  generation = 0;
  /** The mesh's era in which the gate was told last, and the lease that it goes by. */
  era = '';
  #lease: GateLease | null = null;
  #isGateThere = false;
  readonly #beats = new Map<string, BeatRun>();
  readonly #frozen = new Set<string>();
  #isWatched = false;
  readonly #world: World;
  readonly #machine: Machine;

  constructor(world: World, machine: Machine) {
    this.#world = world;
    this.#machine = machine;
  }

  /** What the gate does with whoever comes now. */
  get passage(): Passage {
    const { power, boot } = this.#machine;
    if (power !== 'on' || !this.#isGateThere) return { kind: 'page', because: 'no gate' };
    return passage(this.#lease, this.#machine.bootMs(), boot);
  }

  get isOpen(): boolean {
    return this.passage.kind === 'open';
  }

  /** A gate that begins goes by what lies there. In another era it is told anew. */
  startGate(era: string): void {
    if (this.era !== era) this.#lease = null;
    this.era = era;
    if (this.#isGateThere) return;
    this.#isGateThere = true;
    this.#world.gates.looked(this.#machine);
  }

  tellGate(told: Omit<GateLease, 'id' | 'bootId'>): void {
    this.#lease = newerLease(this.#lease, { id: 'told', bootId: this.#machine.boot, ...told });
    this.#world.gates.looked(this.#machine);
  }

  /** Its power went: containers do not begin again by themselves. */
  turnOff(): void {
    this.#isGateThere = false;
    this.#beats.clear();
    this.#frozen.clear();
    for (const service of this.services.values()) Object.assign(service, { isRunning: false, isFrozen: false });
  }

  begin(key: { data: string; epoch: number; host: string }, bootMs: number): void {
    const { now, figures, transcript } = this.#world;
    figures.add('GitLab containers begun');
    const id = `${this.#machine.id}-gitlab-${figures.counts['GitLab containers begun']}`;
    const { data, epoch, host } = key;
    const service = { id, mesh: 'mesh', data, epoch, host, isRunning: true, isFrozen: false, worksAt: now + bootMs };
    this.services.set(id, service);
    if (!this.past.some((one) => one.data === data && one.epoch === epoch)) this.past.push({ data, epoch });
    transcript.say(this.#machine.id, `container ${id} of ${data}, epoch ${epoch}, begins`);
    if (!this.#isWatched) this.#watch();
  }

  remove({ id }: HostedService, because: string): void {
    this.services.delete(id);
    this.#beats.delete(id);
    this.#frozen.delete(id);
    this.#world.transcript.say(this.#machine.id, `container ${id} is removed: ${because}`);
  }

  /** The watchdog has read until when it may go on. */
  covers(id: string, until: number): void {
    const freeze = { kind: 'cgroup' as const, path: `/sys/fs/cgroup/${id}` };
    if (this.services.has(id)) this.#beats.set(id, { run: id, until, freeze, isService: true });
  }

  freezeAll(): void {
    for (const beat of this.#beats.values()) beat.until = 0;
  }

  /** Until when the watchdog was told that it may go on; undefined: it does not know of it. */
  toldUntil(id: string): number | undefined {
    return this.#beats.get(id)?.until;
  }

  #watch(): void {
    this.#isWatched = true;
    this.#world.timeline.after(watchdogMs / this.#machine.rate, () => {
      if (this.#machine.power === 'on') this.#look();
      this.#isWatched = this.services.size > 0;
      if (this.#isWatched) this.#watch();
    });
  }

  #look(): void {
    this.#world.gates.beforeWatchdog(this.#machine);
    const running = [...this.#beats.values()].filter(({ run }) => this.services.get(run)?.isRunning);
    const todo = watch(running, this.#frozen, this.#machine.bootMs());
    for (const { run } of todo.freeze) this.#freeze(run, true);
    for (const { run } of todo.thaw) this.#freeze(run, false);
    this.#world.gates.afterWatchdog(this.#machine);
  }

  #freeze(id: string, isFrozen: boolean): void {
    const service = this.services.get(id);
    if (!service) return;
    service.isFrozen = isFrozen;
    if (isFrozen) this.#frozen.add(id);
    else this.#frozen.delete(id);
    if (!isFrozen) this.#world.rare.saw('GitLab frozen and thawed');
    this.#world.transcript.say(this.#machine.id, `watchdog ${isFrozen ? 'freezes' : 'thaws'} ${id}`);
  }
}
