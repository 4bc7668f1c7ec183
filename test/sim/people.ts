import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { eraCounterAfter } from '../../scheduler/raft/recovery.ts';
import { unseenIn } from '../../scheduler/recovered.ts';
import { linkedNodes, recoveryOf } from '../../scheduler/views.ts';
import type { Agent } from './agent.ts';
import type { Chance } from './chance.ts';
import { adminToken } from './gitlab-effects.ts';
import { Landlord } from './landlord.ts';
import type { Machine } from './machine.ts';
import type { World } from './world.ts';

const connecting: Change = {
  ...{ kind: 'connect-gitlab', url: 'http://gitlab.lab', token: adminToken },
  ...{ instance: 'sim', runnerTokens: [] },
};

/** The users, and the enrolment that they watch over: they let machines in, change settings, and ask for work. */
export class People {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #asked = new Map<string, { change: Change; agent: Agent }>();
  readonly #forgotten = new Set<string>();
  #counter = 0;
  readonly #landlord: Landlord;

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance.fork();
    this.#landlord = new Landlord(world, (change) => {
      const member = this.#member();
      if (member?.ledger) this.#ask(member, change(member.ledger));
    });
  }

  /** Any member that can hear a person now. */
  #member(): Agent | null {
    const running = this.#world.agents().filter((agent) => agent.isRunning && agent.ledger !== null);
    return running.length > 0 ? this.#chance.pick(running) : null;
  }

  /** The shell of a machine says it by itself. */
  ofShell(agent: Agent, change: Change): void {
    this.#ask(agent, change);
  }

  #ask(agent: Agent, change: Change): void {
    const id = `ask-${this.#counter++}`;
    this.#asked.set(id, { change, agent });
    agent.feed({ kind: 'requested', requests: [{ id, change }] });
  }

  answered(id: string, outcome: ChangeOutcome): void {
    const change = this.#asked.get(id)?.change;
    if (change && outcome.state !== 'unknown') this.#landlord.settled(change);
    // It may be answered long after it was asked, when whoever was to connect it again has found it connected still.
    if (change?.kind === 'disconnect-gitlab')
      this.#world.timeline.after(this.#chance.spread(3000, 40_000), () => this.connectGitlab());
    this.#world.figures.add(`changes ${outcome.state}`);
    this.#world.transcript.say('people', `${id} ${outcome.state}: ${outcome.because}`);
  }

  connectGitlab(): void {
    if (this.#world.hosts) return this.#landlord.deploy();
    const member = this.#member();
    const { mode, leaving } = member?.ledger?.gitlab ?? {};
    const isConnected = mode === 'connected' && leaving === undefined;
    if (!isConnected) {
      if (member) this.#ask(member, connecting);
      this.#world.timeline.after(1500, () => this.connectGitlab());
    }
  }

  /** Whoever looked last may have looked at a machine of an old era, which had one: what went on may have none. */
  connectAgain(): void {
    const leader = this.#world.agentOf(this.#world.leaderNow() ?? '');
    if (!this.#world.hosts && leader?.ledger?.gitlab.mode === 'none') this.#ask(leader, connecting);
  }

  /** The mesh's own GitLab shall be elsewhere, again and again. */
  moveGitlab(untilMs: number): void {
    this.#landlord.move(untilMs);
  }

  /** Somebody disconnects GitLab, and connects it again after a while, whatever has become of it by then. */
  disconnectGitlab(now: boolean): void {
    const member = this.#member();
    if (member?.ledger?.gitlab.mode !== 'connected') return;
    this.#ask(member, { kind: 'disconnect-gitlab', now, force: false });
    this.#world.timeline.after(this.#chance.spread(3000, 40_000), () => this.connectGitlab());
  }

  /** A machine without a ledger comes again and again until it is in: new here, or with a new disk. */
  letIn(machine: string): void {
    const { timeline, figures } = this.#world;
    const target = this.#world.machine(machine);
    const again = (ms: number): void => timeline.after(ms, () => this.letIn(machine));
    if (!target.disk.isEmpty) return;
    if (target.power !== 'on') return again(1000);
    const member = this.#member();
    const isReachable =
      member &&
      !this.#world.faults.isCut(member.machine.id, machine) &&
      !this.#world.faults.isCut(machine, member.machine.id);
    if (!member?.ledger || !isReachable) return again(300);
    if (machine in member.ledger.nodes) {
      // "approved": the member hands its committed ledger over.
      target.disk.write([
        { key: 'accepted', value: member.ledger },
        { key: 'committed', value: member.ledger },
      ]);
      this.#world.checks.landed(target, [{ key: 'accepted', value: member.ledger }]);
      figures.add('enrolments');
      if (this.#forgotten.delete(machine)) this.#world.rare.saw('forgotten machine let in again');
      return this.#world.startAgent(machine);
    }
    if (machine in member.ledger.approvals)
      this.#ask(member, {
        kind: 'approve',
        node: machine,
        words: member.ledger.approvals[machine]!.words,
        because: 'a person compared the words',
      });
    else
      this.#ask(member, {
        kind: 'open-approval',
        node: machine,
        approval: {
          name: target.name,
          address: '10.0.0.9',
          words: 'acid-acorn-agent-alarm',
          since: target.wallMs(),
          via: member.machine.id,
          store: target.disk.store,
          addresses: [],
          witness: target.isWitness,
          ignored: false,
        },
      });
    again(this.#chance.between(100, 700));
  }

  // --- those who are sent away, and those who must come anew

  /** Somebody is forgotten, for whatever reason. False when nobody is there to ask. */
  forget(machine: string): boolean {
    const member = this.#member();
    if (!member?.ledger || member.machine.id === machine || Object.keys(member.ledger.nodes).length < 3) return false;
    // Who was in the mesh before it was recovered may lead there still: it is forgotten when it has come over.
    if (unseenIn(member.ledger).includes(machine)) return false;
    this.#ask(member, { kind: 'forget', node: machine });
    return true;
  }

  /** It comes back with a new store, where its old one is not needed by anybody. */
  takeBack(machine: string): void {
    const { top } = this.#world.history;
    const { disk } = this.#world.machine(machine);
    if (disk.isEmpty || !top || machine in top.ledger.nodes) return;
    if (!this.#world.canReplaceDisk(machine)) {
      this.#world.timeline.after(500, () => this.takeBack(machine));
      return;
    }
    this.#world.rare.saw('machine forgotten');
    this.#forgotten.add(machine);
    this.#renew(machine);
  }

  /** The store folder is moved away, and the agent is started again. */
  #renew(machine: string): void {
    this.#world.killAgent(machine);
    this.#world.loseDisk(machine);
  }

  /**
   * Whoever sits at a machine starts its agent if it has gone, as one that was asked to leave while it was stopped; and
   * one that the mesh has forgotten, or left behind in an old era, gets a new store.
   */
  lookAfterMachines(): void {
    if (this.#world.hosts) this.#landlord.helpOn();
    for (const machine of this.#world.machineIds()) {
      this.#world.startAgent(machine);
      this.takeBack(machine);
    }
    for (const { machine, ledger } of this.#world.agents())
      if (ledger && this.#isLeftBehind(ledger)) this.#renew(machine.id);
  }

  /** Of an old era that has forgotten, or never knew, who went on in the new one: they refuse each other as strangers. */
  #isLeftBehind(ledger: Ledger): boolean {
    const { top } = this.#world.history;
    if (!top || ledger.era.counter >= top.ledger.era.counter) return false;
    const linked = linkedNodes(ledger);
    return !Object.keys(top.configuration.voters).some((voter) => linked.includes(voter));
  }

  /** Nobody has wishes about GitLab for so long, ms. */
  leavesGitlab(ms: number): void {
    this.#landlord.rests(ms);
  }

  /** Somebody lets that node go on alone, and tells no lie, but by mistake: all whom it would do without are off, not merely silent. */
  recover(machine: string, { isMistaken = false } = {}): void {
    const { figures } = this.#world;
    const agent = this.#world.agentOf(machine);
    if (!agent?.isRunning || this.#world.faults.isHealed) return;
    const { refused, off } = recoveryOf(agent.state, agent.machine.bootMs());
    if (refused !== null) return figures.add('recoveries refused');
    const isOn = ({ id, name }: Machine): boolean => off.includes(name) && this.#world.machine(id).power !== 'off';
    if (!isMistaken && this.#world.machines().some(isOn)) return figures.add('recoveries that would be a lie');
    // A mesh that was recovered without ever knowing this machine lets it in as a newcomer: recovered beside it, each refuses the other.
    const { ledger } = this.#world.history.top ?? {};
    if (ledger && ledger.era.counter > (agent.ledger?.era.counter ?? 0) && !(machine in ledger.nodes))
      return figures.add('recoveries beside a mesh that does not know the machine');
    const id = `recovery-${this.#counter++}`;
    this.#world.sides.recovered(eraCounterAfter(agent.state.raft, machine));
    agent.feed({ kind: 'recovery-asked', id, era: `era-of-${id}`, seenOff: off });
  }

  /** Somebody has GitLab go on there, by the ledger of that machine. */
  startsGitlabAt(machine: string): void {
    const agent = this.#world.agentOf(machine);
    const { gitlab } = agent?.ledger ?? {};
    if (!agent?.isRunning || gitlab?.hosted === undefined || gitlab.host === machine) return;
    const { data } = gitlab.hosted;
    this.#ask(agent, { kind: 'start-gitlab-at', data, epoch: gitlab.epoch, to: machine, because: 'a person asked' });
  }

  /** Changes without end, most of them where somebody believes to lead. */
  ask(untilMs: number): void {
    if (this.#world.now > untilMs) return;
    const leading = this.#world.agents().filter((agent) => agent.state.raft.leading !== null && agent.isRunning);
    this.changeSomething(leading.length > 0 && this.#chance.maybe(0.8) ? this.#chance.pick(leading) : this.#member());
    this.#world.timeline.after(this.#chance.spread(10, 300), () => this.ask(untilMs));
  }

  changeSomething(member: Agent | null = this.#member()): void {
    if (!member?.ledger) return;
    const node = this.#chance.pick(Object.keys(member.ledger.nodes));
    const isDrained = member.ledger.nodes[node]!.drained;
    this.#ask(
      member,
      this.#chance.pick<Change>([
        { kind: 'set', key: 'retryLost', value: this.#chance.maybe(0.5) },
        { kind: 'drain', node, drained: !isDrained && this.#chance.maybe(0.5) },
        { kind: 'set', key: 'graceMs', value: 1000 + this.#chance.below(100_000) },
        { kind: 'pair', until: member.machine.wallMs() + 1000 },
      ]),
    );
  }

  /** An ordinary day: now and then a setting, now and then some jobs. */
  liveCalmly(untilMs: number): void {
    const { timeline, now } = this.#world;
    const set = (): void => {
      if (this.#world.now > untilMs) return;
      const member = this.#member();
      if (member) this.#ask(member, { kind: 'set', key: 'graceMs', value: 1000 + this.#chance.below(100_000) });
      timeline.after(this.#chance.spread(10_000, 240_000), set);
    };
    const push = (): void => {
      if (this.#world.now > untilMs) return;
      this.#push(5000);
      timeline.after(this.#chance.spread(10_000, 240_000), push);
    };
    set();
    if (now < untilMs) push();
  }

  /** After the healing: nobody is drained any more. */
  undrain(): void {
    const member = this.#member();
    for (const [node, { drained }] of Object.entries(member?.ledger?.nodes ?? {}))
      if (drained && member) this.#ask(member, { kind: 'drain', node, drained: false });
  }

  /** An agent said that it has handed everything over: it ends. */
  departed(agent: Agent): void {
    this.#world.figures.add('polite departures');
    this.#world.killAgent(agent.machine.id);
  }

  /** Its owner starts it again; an agent that still tries to leave is ended first. */
  fetchBack(agent: Agent): void {
    if (agent.isAlive) this.#world.killAgent(agent.machine.id);
    this.#world.startAgent(agent.machine.id);
  }

  /** Pipelines come in. */
  pushJobs(untilMs: number): void {
    const { timeline, now } = this.#world;
    if (now > untilMs) return;
    this.#push(Math.max(4000, 0.8 * this.#world.options.chaosMs));
    timeline.after(this.#chance.spread(500, 6000), () => this.pushJobs(untilMs));
  }

  #push(longestMs: number): void {
    const { gitlab } = this.#world;
    const tagSets = [[], [], ['cpu-2'], ['mem-8g', 'linux'], ['cpu-2', 'inference']];
    const isThere = ({ build, isWitness }: Machine): boolean => build.gpus.length > 0 && !isWitness;
    if (this.#world.machines().some(isThere)) tagSets.push(['gpu'], ['render']);
    const count = 1 + this.#chance.below(4);
    for (let i = 0; i < count; i += 1)
      gitlab.add(this.#chance.pick(tagSets), this.#chance.spread(100, longestMs), this.#chance.pick([0, 1, 2]));
    const leader = this.#world.agents().find((agent) => agent.state.raft.leading !== null);
    if (leader && this.#chance.maybe(0.3)) leader.feed({ kind: 'queue-hinted' });
  }
}
