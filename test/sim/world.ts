import type { Configuration, Ledger } from '../../protocol/ledger.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import type { Effect } from '../../scheduler/effects.ts';
import { linkedNodes } from '../../scheduler/views.ts';
import { Agent } from './agent.ts';
import { Chance } from './chance.ts';
import { Checks } from './checks.ts';
import { Course, Stranded } from './course.ts';
import { Disk, type DiskCopy } from './disk.ts';
import { FailoverRule } from './failover-rule.ts';
import { Faults } from './faults.ts';
import { Figures } from './figures.ts';
import { GateRule } from './gate-rule.ts';
import { SimGitlab } from './gitlab.ts';
import { GitlabEffects } from './gitlab-effects.ts';
import { History, keyOf, quorum } from './history.ts';
import { LeaseRule } from './lease-rule.ts';
import { type Build, Machine } from './machine.ts';
import { MoveRule } from './move-rule.ts';
import { Network } from './network.ts';
import { People } from './people.ts';
import { Rare } from './rare.ts';
import { SidesRule } from './sides-rule.ts';
import { Timeline } from './timeline.ts';
import { Transcript } from './transcript.ts';

export interface WorldOptions {
  /** ms of the world in which things break. */
  chaosMs: number;
  /** ms of the world in all: after the first bout come calm and more bouts until then. 0 = one bout. */
  lifeMs: number;
  /** ms of the world in which a healed mesh must be well. */
  healMs: number;
  /** Elections above all: faults and changes by the dozen, hardly any jobs. Null: some seeds are so, by chance. */
  isStorm: boolean | null;
  /** The mesh runs its GitLab itself. Null: some seeds are so, by chance. */
  hosts: boolean | null;
  /** Only these kinds of faults; null: as the seed draws them. */
  kinds: string[] | null;
  print: ((line: string) => void) | null;
  /** For a story that is told, not drawn: who is in it, what takes the place of chance, who listens. */
  stage: { names: readonly string[]; chance: Chance; hear: (agent: Agent, effect: Effect) => void } | null;
}
export const defaultOptions: WorldOptions = {
  chaosMs: 20_000,
  lifeMs: 0,
  healMs: 240_000,
  isStorm: null,
  hosts: null,
  kinds: null,
  print: null,
  stage: null,
};

const builds: Build[] = [
  { cpus: 4, memoryGiB: 16, gpus: [] },
  { cpus: 8, memoryGiB: 32, gpus: [{ uuid: 'GPU-3090', model: 'NVIDIA GeForce RTX 3090 Ti', memoryGiB: 24 }] },
  { cpus: 3, memoryGiB: 12, gpus: [{ uuid: 'GPU-5080', model: 'NVIDIA GeForce RTX 5080', memoryGiB: 16 }] },
];
const sizes = [1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 9];
/** Of those that live long: more of the sizes that people have, because a minute of a large one costs several of theirs. */
const longLivedSizes = [1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 8];

/** A whole mesh with its GitLab and its users, from a seed. First chaos, then healing. */
export class World {
  readonly timeline = new Timeline();
  readonly chance: Chance;
  readonly figures = new Figures();
  readonly history: History;
  readonly transcript: Transcript;
  readonly checks: Checks;
  readonly leases: LeaseRule;
  readonly moves: MoveRule;
  readonly sides: SidesRule;
  readonly failovers: FailoverRule;
  readonly gates: GateRule;
  readonly network: Network;
  readonly gitlab: SimGitlab;
  readonly gitlabEffects: GitlabEffects;
  readonly people: People;
  readonly faults: Faults;
  readonly options: WorldOptions;
  readonly isStorm: boolean;
  readonly hosts: boolean;
  readonly rare: Rare;
  /** Machines that have not come to the mesh yet: let in under fire, or at the healing. */
  readonly waiting: string[] = [];
  readonly #machines = new Map<string, Machine>();
  readonly #agents = new Map<string, Agent>();
  #lives = 0;
  #stores = 0;

  constructor(seed: number, options: WorldOptions = defaultOptions) {
    this.options = options;
    this.chance = options.stage?.chance ?? new Chance(seed);
    const stormy = this.chance.maybe(0.3);
    this.isStorm = options.isStorm ?? stormy;
    // Drawn by itself, so that all other worlds stay as they were.
    this.hosts = options.hosts ?? new Chance(seed ^ 0x5eed).maybe(0.25);
    this.transcript = new Transcript(() => this.timeline.now, options.print);
    this.rare = new Rare(this);
    this.history = new History(this.figures, this.rare);
    this.checks = new Checks(this);
    this.leases = new LeaseRule(this);
    this.moves = new MoveRule(this);
    this.sides = new SidesRule(this);
    this.failovers = new FailoverRule(this);
    this.gates = new GateRule(this);
    this.network = new Network(this);
    this.gitlab = new SimGitlab(this);
    this.gitlabEffects = new GitlabEffects(this);
    this.faults = new Faults(this);
    this.people = new People(this);
    this.history.onJoint = () => this.faults.tempt();
    const { stage } = options;
    const size =
      stage?.names.length ??
      (this.isStorm ? 3 + this.chance.below(3) : this.chance.pick(options.lifeMs > 0 ? longLivedSizes : sizes));
    for (let i = 1; i <= size; i += 1) {
      const build = { ...builds[(i - 1) % builds.length]! };
      build.gpus = build.gpus.map((gpu) => ({ ...gpu, uuid: `${gpu.uuid}-n${i}` }));
      const machine = new Machine(this, `n${i}`, stage?.names[i - 1] ?? `node-${i}`, build, this.#newDisk());
      machine.rate = this.chance.between(0.9, 1.1);
      machine.isWitness = i > 1 && !stage && this.chance.maybe(0.12);
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

  /** The whole story. */
  run(): void {
    try {
      new Course(this).run();
    } catch (error) {
      if (!(error instanceof Stranded)) throw error;
    }
  }

  // --- what happens to machines

  /** No store ever had it. */
  newStoreId(): string {
    this.#stores += 1;
    return `store-${this.#stores}`;
  }

  #newDisk(): Disk {
    return new Disk(this.newStoreId());
  }

  startAgent(id: string): void {
    const machine = this.machine(id);
    if (machine.power !== 'on' || machine.disk.isEmpty || this.#agents.has(id)) return;
    this.#lives += 1;
    this.figures.add('agents started');
    this.checks.forgetful.begins(`${id}/${machine.disk.store}`);
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
    this.rare.killed(agent);
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
    machine.ledBeforeSleep = this.agentOf(id)?.state.raft.leading !== null && this.agentOf(id) !== undefined;
    machine.power = 'suspended';
    for (const container of machine.containers.values())
      if (!container.isFrozen && !container.isOver) container.pause();
  }

  resume(id: string): void {
    const machine = this.machine(id);
    if (machine.power !== 'suspended') return;
    machine.power = 'on';
    machine.resumedAt = this.now;
    if (machine.ledBeforeSleep && this.agentOf(id)) this.rare.saw('leader suspended and resumed');
    this.transcript.say(id, 'resumes');
    for (const container of machine.containers.values())
      if (!container.isFrozen && !container.isOver) container.resume();
    this.gates.looked(machine);
    this.#agents.get(id)?.resume();
  }

  /** Every configuration that one of these machines might go by. */
  #configurationsOf(machines: readonly Machine[]): Configuration[] {
    const configurations = this.history.top ? [this.history.top.configuration] : [];
    for (const machine of machines) {
      const doc = this.history.find(machine.disk.accepted);
      const agent = this.agentOf(machine.id);
      if (doc) configurations.push(doc.configuration);
      if (agent) configurations.push(agent.state.raft.accepted.configuration);
    }
    return configurations;
  }

  /** A disk may only be lost while the others still have a quorum of every configuration that somebody might go by. */
  canLoseDisk(id: string): boolean {
    return this.#canDoWithout(id, this.machines());
  }

  /** The same where nobody hears that machine any more, so that its own opinion does not matter; nor that of others. */
  canReplaceDisk(id: string): boolean {
    const { top } = this.history;
    const linked = top ? linkedNodes(top.ledger) : [];
    return this.#canDoWithout(
      id,
      this.machines().filter((machine) => machine.id !== id && linked.includes(machine.id)),
    );
  }

  #canDoWithout(id: string, machines: readonly Machine[]): boolean {
    const there = new Set(
      this.machines()
        .filter(({ disk, id: other }) => other !== id && !disk.isEmpty && !this.#rolledBack.has(disk.store))
        .map((machine) => `${machine.id}/${machine.disk.store}`),
    );
    const { store } = this.machine(id).disk;
    const needs = ({ voters, next }: Configuration): boolean =>
      voters[id]?.store === store || next?.[id]?.store === store;
    return this.#configurationsOf(machines).every(
      (configuration) => !needs(configuration) || quorum(configuration, (disk) => there.has(disk)),
    );
  }

  /**
   * A store rolled back to an old copy has forgotten promises, and no rule can undo that (SAFETY L9): the plan only rolls
   * back where the others make up for it. What it forgets, enough others have: no quorum with it in it lacks the newest
   * committed ledger, or could still vote in a term in which it voted; and nobody counts votes just now.
   */
  canRollBack(id: string, copy: DiskCopy): boolean {
    const { top } = this.history;
    const { disk } = this.machine(id);
    const forgetful = new Set([`${id}/${disk.store}`, `${id}/${disk.storeOf(copy)}`]);
    if (!top || disk.isEmpty || copy.values.accepted === null || !this.canLoseDisk(id)) return false;
    if (!this.history.find(disk.accepted)?.isCommitted) return false;
    // What was promised in an era that the copy knows nothing of: a unit test's business.
    if (disk.accepted?.era.id !== copy.values.accepted.era.id) return false;
    if (this.agents().some((agent) => agent.state.raft.campaign !== null)) return false;
    const early = new Set(
      this.machines()
        .filter((machine) => machine.disk.mayVoteIn(disk.promisedTerm, top.ledger.era))
        .map((machine) => `${machine.id}/${machine.disk.store}`),
    );
    return [copy.values.accepted.configuration, ...this.#configurationsOf(this.machines())].every(
      (configuration) =>
        !quorum(configuration, (other) => forgetful.has(other) || !top.holders.has(other)) &&
        !quorum(configuration, (other) => forgetful.has(other) || early.has(other)),
    );
  }

  /** What a store forgot may cost it its vote at any moment: the plan does not count on any of these. */
  readonly #rolledBack = new Set<string>();

  rollBack(id: string, copy: DiskCopy): void {
    const { disk } = this.machine(id);
    disk.restore(copy);
    this.#rolledBack.add(disk.store);
    this.rare.rolledBack(disk.store);
    this.checks.forgetful.begins(`${id}/${disk.store}`);
    const ledger = copy.values.accepted as Ledger;
    this.history.forgot(`${id}/${disk.store}`, ledger, disk.promisedTerm);
    this.transcript.say(id, `is rolled back to ${keyOf(ledger)}, term ${disk.promisedTerm}`);
  }

  /**
   * A joint configuration may have begun in the very moment in which a disk that it needs was lost: then no election can
   * be won by any rule, and only `recover --force` helps. The same if it needs the vote of one that was rolled back.
   */
  isStranded(): boolean {
    if (!this.figures.counts['store lost'] && this.#rolledBack.size === 0) return false;
    const disks = this.machines()
      .filter((machine) => !machine.disk.isEmpty)
      .map(({ id, disk }) => ({ name: `${id}/${disk.store}`, doc: this.history.find(disk.accepted) }))
      .filter(({ doc }) => doc?.ledger.era.id === this.history.top?.ledger.era.id);
    return !disks.some(({ doc }) => {
      if (!doc) return false;
      const voters = disks.filter((other) => other.doc && compareStamps(other.doc.stamp, doc.stamp) <= 0);
      return quorum(doc.configuration, (disk) => voters.some(({ name }) => name === disk));
    });
  }

  loseDisk(id: string): void {
    const machine = this.machine(id);
    this.rare.saw('store lost');
    machine.disk = this.#newDisk();
    this.transcript.say(id, `lost its disk, has ${machine.disk.store}`);
    this.timeline.after(this.chance.spread(100, 3000), () => this.people.letIn(id));
  }
}
