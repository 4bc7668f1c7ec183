import type { PeerMessage } from '../../protocol/messages.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import type { CoreState } from '../../scheduler/state.ts';
import type { Agent } from './agent.ts';
import { type Doc, isJoint } from './history.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/** What a seed may or may not meet. A number of seeds means something when it met all of these. */
export const rareStates = [
  'partition in a joint configuration',
  'election in a joint configuration',
  'fault in a joint configuration',
  'membership changed under fire',
  'leader suspended and resumed',
  'leader stopped and continued',
  'leader killed while it held grants',
  'leader with a sick store',
  'leader removed from the voters',
  'two leaders at once, in two terms',
  'late round of a deposed leader',
  'late grant of a deposed leader',
  'vote granted to one that did not win',
  'tie-breaker moved',
  'dead voter taken out',
  'voter let back in',
  'voter let back in with another store',
  'voter replaced in one change by its new store',
  'machine forgotten',
  'forgotten machine let in again',
  'newcomer under fire',
  'witness votes',
  'node that is no voter has the ledger',
  'store lost',
  'store rolled back',
  'store rolled back and found out',
  'store rolled back unnoticed',
  'store renewed and rolled back again',
  'rolled back store votes again',
  'false evidence believed',
  'left and came back without a restart',
  'run frozen and thawed',
  'run adopted by the next agent',
  'run kept while its machine did not hear the leader',
  'run lost and failed at GitLab',
  'job taken and forgotten, rescued',
  'failed by its machine, tried again by the mesh',
  'GitLab disconnected',
  'GitLab deployed on another machine',
  'lease out and held again',
  'hosting ended for a host that was removed',
  'GitLab frozen and thawed',
  'epoch begun by a restore',
  'planned move begun',
  'epoch begun by a planned move',
  'GitLab served by another machine after a move',
  'push acknowledged by an in-sync set',
  'epoch begun by an unplanned move',
  'unplanned move to a machine that was not in sync',
  'unplanned move after all were switched off',
  'unplanned move went on to the next machine',
  'GitLab served after an unplanned move',
  'host of GitLab lost its power',
  'host of GitLab and leader lost their power at once',
  'all machines lost their power at once',
  'planned move given up',
  'planned move gone back',
  'planned move taken back by a leader',
  'agent killed over a planned move',
  'word of a planned move long on its way',
  'container of before started by hand',
  'recovered by force',
  'push acknowledged beside a recovered mesh',
  'push acknowledged beside a recovered mesh, in a recovery of its own',
  'two sides of a recovery met',
  'push held as two sides met',
  'node of an old era brought over',
  'leader of an old era stopped',
  'decisions of an old era lost',
  'stranded by a lost store',
] as const;
export type RareState = (typeof rareStates)[number];

/** Looks on and counts; decides nothing. */
export class Rare {
  readonly #world: World;
  /** "node/store" of every voter there ever was. */
  readonly #everVoted = new Map<string, Set<string>>();
  readonly #rolledBack = new Set<string>();
  readonly #foundOut = new Set<string>();
  /** "node/store" of stores that have a new id and no vote yet. */
  readonly #renewed = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  saw(state: RareState): void {
    this.#world.figures.add(state);
  }

  #isJointSomewhere(): boolean {
    return this.#world.agents().some((agent) => isJoint(agent.state.raft.accepted.configuration));
  }

  partitioned(): void {
    if (this.#isJointSomewhere()) this.saw('partition in a joint configuration');
  }

  /** A leader made a ledger with other voters than the one before had. */
  configured(doc: Doc, parent: Doc, life: string): void {
    const { faults } = this.#world;
    const was = parent.configuration;
    const is = doc.configuration;
    if (is.next !== null) {
      if (faults.isAnythingCut) this.saw('partition in a joint configuration');
      if (faults.isBusy) this.saw('membership changed under fire');
      return;
    }
    const heavy = (voters: Doc['configuration']['voters']) =>
      Object.keys(voters).find((node) => voters[node]!.weight === 3);
    const [before, after] = [heavy(was.voters), heavy(is.voters)];
    if (before !== undefined && after !== undefined && before !== after) this.saw('tie-breaker moved');
    const self = life.split('#')[0]!;
    if (self in was.voters && !(self in is.voters)) this.saw('leader removed from the voters');
    for (const [node, { store }] of Object.entries(is.voters)) {
      const old = was.voters[node];
      const stores = this.#everVoted.get(node);
      if (!old && stores) this.saw('voter let back in');
      if (!old && stores && !stores.has(store)) this.saw('voter let back in with another store');
      if (old && old.store !== store) this.saw('voter replaced in one change by its new store');
      if (this.#renewed.delete(`${node}/${store}`)) this.saw('rolled back store votes again');
      if (doc.ledger.nodes[node]?.witness) this.saw('witness votes');
    }
    for (const voters of [was.voters, is.voters])
      for (const [node, { store }] of Object.entries(voters))
        this.#everVoted.set(node, (this.#everVoted.get(node) ?? new Set()).add(store));
    for (const node of Object.keys(was.voters)) {
      const entry = doc.ledger.nodes[node];
      if (!(node in is.voters) && entry && !entry.left && !entry.drained) this.saw('dead voter taken out');
    }
  }

  elected(agent: Agent, before: CoreState): void {
    if (isJoint(before.raft.accepted.configuration)) this.saw('election in a joint configuration');
    const { term } = agent.state.raft;
    const others = this.#world.agents().filter((other) => other !== agent && other.state.raft.leading !== null);
    if (others.some((other) => other.state.raft.term !== term)) this.saw('two leaders at once, in two terms');
    const { history } = this.#world;
    const self = agent.machine.id;
    for (const { id, disk } of this.#world.machines()) {
      const vote = history.voteOf(`${id}/${disk.store}`, agent.state.raft.accepted.era, term);
      if (vote !== undefined && vote !== self && vote !== id) this.saw('vote granted to one that did not win');
    }
  }

  heard(before: CoreState, from: string, message: PeerMessage): void {
    if (message.kind === 'ack') this.#answered(before, from);
    if (message.kind === 'append' && message.term < before.raft.term) this.saw('late round of a deposed leader');
    if (message.kind === 'grant' && message.term < before.raft.term) this.saw('late grant of a deposed leader');
  }

  /** SAFETY J1: only its reports came for longer than a machine may be silent, and its run was not given up. */
  #answered({ raft, jobs }: CoreState, from: string): void {
    const answeredAt = raft.peers[from]?.acked?.sentAt;
    const reportAt = jobs.reports[from]?.at;
    if (jobs.lead === null || answeredAt === undefined || reportAt === undefined || reportAt - answeredAt < 3000)
      return;
    const runs = Object.values(raft.committed?.runs ?? {});
    if (runs.some(({ node, state }) => node === from && (state === 'taken' || state === 'running')))
      this.saw('run kept while its machine did not hear the leader');
  }

  /** Its agent or its machine is gone. */
  killed(agent: Agent): void {
    const { raft, jobs } = agent.state;
    if (raft.leading && jobs.lead && Object.keys(jobs.lead.grants).length > 0)
      this.saw('leader killed while it held grants');
  }

  rolledBack(store: string): void {
    this.#rolledBack.add(store);
    this.saw('store rolled back');
  }

  noted({ event, because }: EffectOf<'note'>, agent: Agent): void {
    if (event === 'false-alarm') this.saw('false evidence believed');
    if (event === 'mesh-recovered') this.saw('recovered by force');
    if (event === 'era-changed') this.saw('node of an old era brought over');
    if (event === 'era-changed' && because.includes('is lost')) this.saw('decisions of an old era lost');
    if (event === 'leader-lost' && because.includes('a newer era')) this.saw('leader of an old era stopped');
    if (event === 'store-renewed') this.#renewed.add(`${agent.machine.id}/${agent.machine.disk.store}`);
    if (event === 'store-rolled-back') {
      const { store } = agent.machine.disk;
      must(
        this.#rolledBack.has(store),
        'rolled-back-stores-only',
        () => `${agent.life} takes ${store} for rolled back`,
      );
      // Again, when its agent ended before the new id was on disk.
      this.#foundOut.add(store);
      this.saw('store rolled back and found out');
    }
  }

  /** The mesh is well: whose roll-back nobody noticed by now had nothing to forget, or caught up before anybody asked. */
  isWell(): void {
    for (const store of this.#rolledBack) if (!this.#foundOut.has(store)) this.saw('store rolled back unnoticed');
    this.#rolledBack.clear();
    this.#foundOut.clear();
    const { top } = this.#world.history;
    for (const { machine } of this.#world.agents())
      if (top && !(machine.id in top.configuration.voters)) this.saw('node that is no voter has the ledger');
  }
}
