import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Agent } from './agent.ts';
import type { Chance } from './chance.ts';
import { adminToken } from './desk.ts';
import type { World } from './world.ts';

/** The users, and the enrolment that they watch over: they let machines in, change settings, and ask for work. */
export class People {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #asked = new Map<string, { change: Change; agent: Agent }>();
  #counter = 0;

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance.fork();
  }

  /** Any member that can hear a person now. */
  #member(): Agent | null {
    const running = this.#world.agents().filter((agent) => agent.isRunning && agent.ledger !== null);
    return running.length > 0 ? this.#chance.pick(running) : null;
  }

  #ask(agent: Agent, change: Change): void {
    const id = `ask-${this.#counter++}`;
    this.#asked.set(id, { change, agent });
    agent.feed({ kind: 'requested', requests: [{ id, change }] });
  }

  answered(id: string, outcome: ChangeOutcome): void {
    this.#world.figures.add(`changes ${outcome.state}`);
    this.#world.transcript.say('people', `${id} ${outcome.state}: ${outcome.because}`);
  }

  connectGitlab(): void {
    const member = this.#member();
    const isConnected = member?.ledger?.gitlab.mode === 'connected';
    if (!isConnected) {
      if (member)
        this.#ask(member, {
          kind: 'connect-gitlab',
          url: 'http://gitlab.lab',
          token: adminToken,
          instance: 'sim',
          runnerTokens: [],
        });
      this.#world.timeline.after(1500, () => this.connectGitlab());
    }
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
      return this.#world.startAgent(machine);
    }
    if (machine in member.ledger.approvals)
      this.#ask(member, { kind: 'approve', node: machine, words: null, because: 'a person compared the words' });
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
          witness: false,
          ignored: false,
        },
      });
    again(this.#chance.between(100, 700));
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
    const { timeline, gitlab, now } = this.#world;
    if (now > untilMs) return;
    const tagSets = [[], [], ['cpu-2'], ['mem-8g', 'linux'], ['cpu-2', 'inference']];
    if (this.#world.machines().some(({ build }) => build.gpus.length > 0)) tagSets.push(['gpu'], ['render']);
    const count = 1 + this.#chance.below(4);
    const longestMs = Math.max(4000, 0.8 * this.#world.options.chaosMs);
    for (let i = 0; i < count; i += 1)
      gitlab.add(this.#chance.pick(tagSets), this.#chance.spread(100, longestMs), this.#chance.pick([0, 1, 2]));
    const leader = this.#world.agents().find((agent) => agent.state.raft.leading !== null);
    if (leader && this.#chance.maybe(0.3)) leader.feed({ kind: 'queue-hinted' });
    timeline.after(this.#chance.spread(500, 6000), () => this.pushJobs(untilMs));
  }
}
