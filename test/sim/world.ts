import { foundingLedger } from '../../protocol/ledger.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import type { Effect } from '../../scheduler/effects.ts';
import { Agent } from './agent.ts';
import { Chance } from './chance.ts';
import { Checks } from './checks.ts';
import { Desk } from './desk.ts';
import { Disk } from './disk.ts';
import { Faults } from './faults.ts';
import { Figures } from './figures.ts';
import { SimGitlab } from './gitlab.ts';
import { History, quorum } from './history.ts';
import { type Build, Machine } from './machine.ts';
import { Network } from './network.ts';
import { People } from './people.ts';
import { Timeline } from './timeline.ts';
import { Transcript } from './transcript.ts';
import { Violation } from './violation.ts';

export interface WorldOptions {
  /** ms of the world in which things break. */
  chaosMs: number;
  /** ms of the world in which a healed mesh must be well. */
  healMs: number;
  /** Elections above all: faults and changes by the dozen, hardly any jobs. Null: some seeds are so, by chance. */
  isStorm: boolean | null;
  /** Only these kinds of faults; null: as the seed draws them. */
  kinds: string[] | null;
  print: ((line: string) => void) | null;
  /** For a story that is told, not drawn: who is in it, what takes the place of chance, who listens. */
  stage: { names: readonly string[]; chance: Chance; hear: (agent: Agent, effect: Effect) => void } | null;
}
export const defaultOptions: WorldOptions = {
  chaosMs: 20_000,
  healMs: 240_000,
  isStorm: null,
  kinds: null,
  print: null,
  stage: null,
};

const builds: Build[] = [
  { cpus: 4, memoryGiB: 16, gpus: [] },
  { cpus: 8, memoryGiB: 32, gpus: [{ uuid: 'GPU-3090', model: 'NVIDIA GeForce RTX 3090 Ti', memoryGiB: 24 }] },
  { cpus: 3, memoryGiB: 12, gpus: [{ uuid: 'GPU-5080', model: 'NVIDIA GeForce RTX 5080', memoryGiB: 16 }] },
];
const sizes = [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7];

/** A whole mesh with its GitLab and its users, from a seed. First chaos, then healing. */
export class World {
  readonly timeline = new Timeline();
  readonly chance: Chance;
  readonly figures = new Figures();
  readonly history: History;
  readonly transcript: Transcript;
  readonly checks: Checks;
  readonly network: Network;
  readonly gitlab: SimGitlab;
  readonly desk: Desk;
  readonly people: People;
  readonly faults: Faults;
  readonly options: WorldOptions;
  readonly isStorm: boolean;
  readonly #machines = new Map<string, Machine>();
  readonly #agents = new Map<string, Agent>();
  #lives = 0;
  #stores = 0;

  constructor(seed: number, options: WorldOptions = defaultOptions) {
    this.options = options;
    this.chance = options.stage?.chance ?? new Chance(seed);
    const stormy = this.chance.maybe(0.3);
    this.isStorm = options.isStorm ?? stormy;
    this.transcript = new Transcript(() => this.timeline.now, options.print);
    this.history = new History(this.figures);
    this.checks = new Checks(this);
    this.network = new Network(this);
    this.gitlab = new SimGitlab(this);
    this.desk = new Desk(this);
    this.faults = new Faults(this);
    this.people = new People(this);
    this.history.onJoint = () => this.faults.tempt();
    const { stage } = options;
    const size = stage?.names.length ?? (this.isStorm ? 3 + this.chance.below(3) : this.chance.pick(sizes));
    for (let i = 1; i <= size; i += 1) {
      const build = { ...builds[(i - 1) % builds.length]! };
      build.gpus = build.gpus.map((gpu) => ({ ...gpu, uuid: `${gpu.uuid}-n${i}` }));
      const machine = new Machine(this, `n${i}`, stage?.names[i - 1] ?? `node-${i}`, build, this.#newDisk());
      machine.rate = this.chance.between(0.9, 1.1);
      this.#machines.set(machine.id, machine);
    }
  }

  get now(): number {
    return this.timeline.now;
  }

  machineIds(): string[] {
    return [...this.#machines.keys()];
  }

  machines(): Machine[] {
    return [...this.#machines.values()];
  }

  machine(id: string): Machine {
    return this.#machines.get(id)!;
  }

  hasMachine(id: string): boolean {
    return this.#machines.has(id);
  }

  agentOf(id: string): Agent | undefined {
    return this.#agents.get(id);
  }

  agents(): Agent[] {
    return [...this.#agents.values()];
  }

  leaderNow(): string | null {
    return this.agents().find((agent) => agent.state.raft.leading !== null)?.machine.id ?? null;
  }

  // --- the whole story

  run(): void {
    const { chaosMs, healMs } = this.options;
    this.#found();
    const tend = (): void => {
      this.network.tend();
      this.timeline.after(200, tend);
    };
    tend();
    this.timeline.after(300, () => this.people.connectGitlab());
    if (this.isStorm) this.timeline.after(800, () => this.people.ask(chaosMs));
    if (!this.isStorm || this.chance.maybe(0.3)) this.timeline.after(800, () => this.people.pushJobs(chaosMs - 3000));
    const calmMs = this.chance.between(200, 2500);
    this.timeline.after(calmMs, () => this.faults.begin(chaosMs));
    this.timeline.runUntil(chaosMs);
    if (healMs > 0) this.#heal();
  }

  #heal(): void {
    const { chaosMs, healMs } = this.options;
    this.transcript.say('world', 'heals');
    this.faults.heal();
    this.people.undrain();
    this.people.connectGitlab();
    let missing = this.checks.notYetWell();
    let wellSince = 0;
    while (this.now < chaosMs + healMs) {
      this.timeline.runUntil(this.now + 500);
      missing = this.checks.notYetWell();
      wellSince = missing === null ? wellSince + 1 : 0;
      if (wellSince >= 2) break;
      if (this.leaderNow() === null && this.isStranded()) return this.figures.add('stranded by a lost disk');
      if (Math.floor(this.now) % 5000 < 500) this.people.undrain();
    }
    if (missing !== null)
      throw new Violation('a-healed-mesh-gets-well', `after ${healMs} ms without faults: ${missing}`);
  }

  #found(): void {
    const ids = this.machineIds();
    for (const machine of this.machines()) machine.turnOn();
    const founder = this.machine(ids[0]!);
    const ledger = foundingLedger({
      meshId: 'mesh',
      meshName: 'lab',
      era: 'era-0',
      node: founder.id,
      name: founder.name,
      store: founder.disk.store,
      addresses: [],
      witness: false,
      wallMs: founder.wallMs(),
      pairUntil: 0,
      defaultArch: 'amd64',
    });
    this.history.root(ledger);
    founder.disk.write([
      { key: 'accepted', value: ledger },
      { key: 'committed', value: ledger },
    ]);
    this.startAgent(founder.id);
    for (const id of ids.slice(1))
      this.timeline.after(this.chance.spread(100, this.isStorm ? 800 : 6000), () => this.people.letIn(id));
  }

  // --- what happens to machines

  #newDisk(): Disk {
    this.#stores += 1;
    return new Disk(`store-${this.#stores}`);
  }

  startAgent(id: string): void {
    const machine = this.machine(id);
    if (machine.power !== 'on' || machine.disk.isEmpty || this.#agents.has(id)) return;
    this.#lives += 1;
    this.figures.add('agents started');
    const agent = new Agent(this, machine, this.#lives);
    this.#agents.set(id, agent);
    this.transcript.say(agent.life, `starts on ${machine.boot} with ${machine.disk.store}`);
  }

  /** kill -9. Containers live on, and the kernel answers for the machine. */
  killAgent(id: string): void {
    const agent = this.#agents.get(id);
    if (!agent) return;
    this.figures.add('agents killed');
    this.transcript.say(agent.life, 'is killed');
    agent.die();
    this.#agents.delete(id);
    this.network.processEnded(agent, this.machine(id).power === 'on');
  }

  powerOff(id: string): void {
    const machine = this.machine(id);
    if (machine.power === 'off') return;
    this.figures.add('machines lost power');
    this.transcript.say(id, 'loses power');
    machine.power = 'off';
    this.killAgent(id);
    machine.turnOff();
  }

  /** Whatever befell it: power on, awake, agent started, or at the door with an empty disk. */
  bringBack(machine: Machine): void {
    if (machine.power === 'suspended') this.resume(machine.id);
    if (machine.power === 'off') {
      machine.turnOn();
      this.transcript.say(machine.id, `boots as ${machine.boot}`);
    }
    const agent = this.#agents.get(machine.id);
    if (agent?.isStopped) {
      agent.isStopped = false;
      agent.resume();
    }
    if (agent) return;
    this.startAgent(machine.id);
  }

  suspend(id: string): void {
    const machine = this.machine(id);
    this.figures.add('suspends');
    machine.power = 'suspended';
    for (const container of machine.containers.values())
      if (!container.isFrozen && !container.isOver) container.pause();
  }

  resume(id: string): void {
    const machine = this.machine(id);
    if (machine.power !== 'suspended') return;
    machine.power = 'on';
    machine.resumedAt = this.now;
    this.transcript.say(id, 'resumes');
    for (const container of machine.containers.values())
      if (!container.isFrozen && !container.isOver) container.resume();
    this.#agents.get(id)?.resume();
  }

  /** A disk may only be lost while the others still have a quorum of every configuration that somebody might go by. */
  canLoseDisk(id: string): boolean {
    const { top } = this.history;
    if (!top) return false;
    const configurations = [top.configuration];
    for (const machine of this.machines()) {
      const doc = this.history.find(machine.disk.acceptedStamp);
      if (doc) configurations.push(doc.configuration);
    }
    for (const agent of this.agents()) configurations.push(agent.state.raft.accepted.configuration);
    const there = new Set(
      this.machines()
        .filter((machine) => machine.id !== id && !machine.disk.isEmpty)
        .map((machine) => `${machine.id}/${machine.disk.store}`),
    );
    return configurations.every((configuration) => quorum(configuration, (disk) => there.has(disk)));
  }

  /**
   * A joint configuration may have begun in the very moment in which a disk that it needs was lost: then no election can
   * be won by any rule, and only `recover --force` helps.
   */
  isStranded(): boolean {
    if (!this.figures.counts['disks lost']) return false;
    const disks = this.machines()
      .filter((machine) => !machine.disk.isEmpty)
      .map(({ id, disk }) => ({ name: `${id}/${disk.store}`, doc: this.history.find(disk.acceptedStamp) }));
    return !disks.some(({ doc }) => {
      if (!doc) return false;
      const voters = disks.filter((other) => other.doc && compareStamps(other.doc.stamp, doc.stamp) <= 0);
      return quorum(doc.configuration, (disk) => voters.some((voter) => voter.name === disk));
    });
  }

  loseDisk(id: string): void {
    const machine = this.machine(id);
    this.figures.add('disks lost');
    machine.disk = this.#newDisk();
    this.transcript.say(id, `lost its disk, has ${machine.disk.store}`);
    this.timeline.after(this.chance.spread(100, 3000), () => this.people.letIn(id));
  }
}
