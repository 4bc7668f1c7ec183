import type { Configuration, Ledger } from '../../protocol/ledger.ts';
import { roundText } from '../../protocol/round-name.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { Input } from '../../scheduler/inputs.ts';
import type { CoreState } from '../../scheduler/state.ts';
import type { Agent } from './agent.ts';
import { quorum } from './history.ts';
import type { Machine } from './machine.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

type Gitlab = Ledger['gitlab'];

/** SAFETY L, written again: the rules share no code with what they check. */
const leaseMs = 4000;
const waitMs = 5000;

/** A round that a leader sent, and by whose answers it is confirmed. */
interface Round {
  at: number;
  answered: Set<string>;
}

/**
 * The mesh's own GitLab is served by one machine at a time (SAFETY H1, H5 to H7). From above: the gates of all machines, each
 * by its own clock. And at single steps, where luck alone would have to find it: from when a lease counts, and who gives it.
 */
export class LeaseRule {
  readonly #world: World;
  /** nonce -> by its host's own clock, when that was asked. */
  readonly #asked = new Map<string, number>();
  /** nonce -> by that leader's clock, when it heard the question. */
  readonly #heard = new WeakMap<Agent, Map<string, number>>();
  /** Of a leader's reign: its rounds by number. */
  readonly #rounds = new WeakMap<Agent, { era: string; term: number; rounds: Map<number, Round> }>();
  /** Leader, term and epoch -> since when it has known that GitLab moved and does not stand yet. */
  readonly #trials = new Map<string, number>();
  /** Who served last. */
  #host: string | null = null;
  readonly #wasOut = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The gate of that machine lets people in. Of two eras one has been given up, by a person who saw it off. */
  opened(machine: Machine): void {
    const { hosted } = machine;
    for (const other of this.#world.machines()) {
      if (other === machine || !other.hosted.isOpen || other.hosted.era !== hosted.era) continue;
      must(false, 'one-open-gate', () => {
        const [one, two] = [hosted.passage, other.hosted.passage].map((now) => JSON.stringify(now));
        return `${machine.id} lets people in, ${one}, and ${other.id} does, ${two}`;
      });
    }
  }

  stepped(agent: Agent, before: CoreState, input: Input, effects: readonly Effect[]): void {
    if (!this.#world.hosts) return;
    if (input.kind === 'gate-closed')
      this.#world.gates.saidClosed(agent, agent.state.raft.accepted.era.id, input.epoch);
    if (input.kind === 'heard' && input.message.kind === 'lease-ask') this.#hears(agent, input.message.nonce);
    if (input.kind === 'heard' && input.message.kind === 'ack') this.#isAnswered(agent, input.from, input.message);
    for (const effect of effects) {
      this.#world.failovers.performs(agent, effect);
      if (effect.kind === 'send' && effect.message.kind === 'append') {
        this.#sends(agent, effect.message.round);
        this.#world.failovers.sends(agent, effect.message.round);
      }
      if (effect.kind === 'send' && effect.message.kind === 'lease-ask')
        this.#asked.set(effect.message.nonce, agent.machine.bootMs());
      if (effect.kind === 'send' && effect.message.kind === 'lease-given')
        this.#gives(
          agent,
          before,
          effect.to,
          effect.message.epoch,
          this.#heard.get(agent)?.get(`${agent.state.raft.term} ${effect.message.nonce}`),
        );
      if (effect.kind === 'hold-lease') this.#holds(agent, before, input, effect);
      if (effect.kind === 'note') this.#notes(agent, effect.event);
    }
    this.#knows(agent);
    this.#endsRightly(agent, before);
    this.#world.failovers.stepped(agent, before, input);
  }

  /** Said twice it counts from when it came first. */
  #hears(agent: Agent, nonce: string): void {
    const heard = this.#heard.get(agent) ?? new Map<string, number>();
    this.#heard.set(agent, heard);
    const key = `${agent.state.raft.term} ${nonce}`;
    if (!heard.has(key)) heard.set(key, agent.machine.bootMs());
  }

  #roundsOf(agent: Agent): Map<number, Round> {
    const { term, accepted } = agent.state.raft;
    const era = accepted.era.id;
    const known = this.#rounds.get(agent);
    if (known?.term === term && known.era === era) return known.rounds;
    const rounds = new Map<number, Round>();
    this.#rounds.set(agent, { era, term, rounds });
    return rounds;
  }

  #sends(agent: Agent, round: number): void {
    const rounds = this.#roundsOf(agent);
    const [oldest] = rounds.keys();
    if (rounds.size > 300 && oldest !== undefined) rounds.delete(oldest);
    if (!rounds.has(round)) rounds.set(round, { at: agent.machine.bootMs(), answered: new Set() });
  }

  #isAnswered(
    agent: Agent,
    from: string,
    { term, round, store }: { term: number; round: number; store: string },
  ): void {
    if (term === agent.state.raft.term) this.#roundsOf(agent).get(round)?.answered.add(`${from}/${store}`);
  }

  /** SAFETY H5: each of a quorum has answered a round that was sent after the question was heard. */
  #isConfirmed(agent: Agent, configuration: Configuration, since: number): boolean {
    const { machine } = agent;
    const own = `${machine.id}/${machine.disk.store}`;
    const later = [...this.#roundsOf(agent).values()].filter(({ at }) => at > since);
    return quorum(configuration, (disk) => disk === own || later.some(({ answered }) => answered.has(disk)));
  }

  /** SAFETY H5, H6. */
  #gives(agent: Agent, before: CoreState, to: string, epoch: number, heardAt: number | undefined): void {
    const { term, leading, accepted } = agent.state.raft;
    const first = this.#world.history.firstOf(accepted.era, term);
    must(
      leading !== null && !!first?.isCommitted,
      'leases-by-who-may-act',
      () => `${agent.life} gives a lease in term ${term}`,
    );
    // What this node proposes in the very step in which it gives it, it proposes afterwards.
    const given = before.raft.accepted;
    const { gitlab } = given;
    must(
      gitlab.mode === 'hosted' &&
        gitlab.host === to &&
        gitlab.epoch === epoch &&
        gitlab.hosted?.ending?.drained !== true,
      'leases-for-the-newest-host',
      () => `${agent.life} gives ${to} a lease of epoch ${epoch}, and its newest ledger says ${JSON.stringify(gitlab)}`,
    );
    must(
      heardAt !== undefined && this.#isConfirmed(agent, given.configuration, heardAt),
      'leases-by-a-later-round',
      () =>
        `${agent.life} gives ${to} a lease for what it heard at ${heardAt}: no quorum has answered a round of later`,
    );
  }

  /** SAFETY H5, H7: from the own time of asking on, for what is committed. */
  #holds(agent: Agent, before: CoreState, input: Input, { epoch, until }: Effect & { kind: 'hold-lease' }): void {
    const { machine, life, state } = agent;
    const answer = input.kind === 'heard' && input.message.kind === 'lease-given' ? input.message : null;
    // A host that has come to lead may give itself one in the step in which an answer of the leader before it comes too late.
    const isOwn = state.raft.leading !== null && (answer ? this.#asked.get(answer.nonce) : null) !== until - leaseMs;
    const given = isOwn ? null : answer;
    const askedAt = given ? this.#asked.get(given.nonce) : until - leaseMs;
    must(
      askedAt !== undefined && until <= askedAt + leaseMs,
      'a-lease-counts-from-the-question',
      () => `${life} asked at ${askedAt}, and serves until ${until}`,
    );
    this.#world.gates.given(agent, epoch, until);
    // A host that leads gives it to itself, by the same rule.
    if (!given) this.#gives(agent, before, machine.id, epoch, until - leaseMs);
    const { committed } = state.raft;
    const doc = committed ? this.#world.history.find(committed) : undefined;
    const { host, epoch: said } = doc?.ledger.gitlab ?? {};
    must(
      !!doc?.isCommitted && host === machine.id && said === epoch,
      'a-host-serves-what-is-committed',
      () => `${life} serves epoch ${epoch}, and committed is epoch ${said} on ${host}`,
    );
  }

  #notes(agent: Agent, event: string): void {
    const { rare, checks } = this.#world;
    if (event === 'gitlab-lease-out') {
      this.#wasOut.add(agent.machine.id);
      must(!checks.isCalm(), 'a-calm-mesh-serves-gitlab', () => `${agent.life} lost its lease, and nothing had broken`);
    }
    if (event === 'gitlab-lease-held' && this.#host !== null && this.#host !== agent.machine.id)
      rare.saw('GitLab deployed on another machine');
    if (event === 'gitlab-lease-held') this.#host = agent.machine.id;
    if (event === 'gitlab-lease-held' && this.#wasOut.delete(agent.machine.id)) rare.saw('lease out and held again');
  }

  /** SAFETY H10: who has rounds of the epoch before has none of this one's. */
  #beginsAnew({ life }: Agent, set: { members: string[]; last: string[] | null } | undefined, epoch: number): void {
    this.#world.rare.saw('epoch begun by a restore');
    must(
      set === undefined || (set.members.length === 0 && set.last === null),
      'an-epoch-begins-with-nobody-in-sync',
      () => `${life} begins epoch ${epoch}, and in sync are ${set?.members}, were last ${set?.last}`,
    );
  }

  /** SAFETY H10: who was in sync has all that was acknowledged, and the new host is none of its own copies. */
  #moves({ life, state }: Agent, was: Gitlab, is: Gitlab): void {
    const isBack = was.hosted?.move?.from !== was.host;
    if (!is.hosted?.move?.unplanned)
      this.#world.rare.saw(isBack ? 'planned move gone back' : 'epoch begun by a planned move');
    // A former era may have used the next ones.
    const { side } = state.raft.accepted.recovery ?? {};
    const isNext =
      side === undefined
        ? is.epoch === was.epoch + 1
        : is.epoch % 1000 === side && is.epoch >= was.epoch + 1000 && is.epoch >= 1_000_000;
    const [before, set] = [was.hosted?.copies?.set.members ?? [], is.hosted?.copies?.set];
    must(
      isNext &&
        set?.boot === null &&
        set.last === null &&
        set.members.every((node) => node !== is.host && before.includes(node)),
      'a-move-is-an-epoch-of-its-own',
      () =>
        `${life} moves GitLab from epoch ${was.epoch} to ${is.epoch}: in sync were ${before}, are ${JSON.stringify(set)}`,
    );
  }

  /** SAFETY H7, H10: it begins with all that was written, which lies there; who has not served is given time to come up. */
  #beginsWith(agent: Agent, was: Gitlab, is: Gitlab): void {
    const { data, copies } = is.hosted!;
    const base = copies?.bases[is.epoch];
    const key = base && `${data} ${roundText(base)}`;
    const [there, before] = [is.host, was.host].map(
      (id) => this.#world.hasMachine(id!) && this.#world.machine(id!).hosted,
    );
    if (!there || !before || agent.state.raft.accepted.era.counter > 0) return;
    const isBack = was.hosted?.move?.from !== was.host;
    const written = isBack ? there.held.get(key ?? '') : before.volume?.writes;
    must(
      key !== undefined && there.held.has(key) && there.held.get(key) === written,
      'a-move-begins-with-all-there-is',
      () =>
        `${agent.life} has epoch ${is.epoch} begin on ${is.host} with ${key}, which has ${there.held.get(key ?? '')} there: ${written} was written`,
    );
    const machine = this.#world.machine(was.host!);
    if (!isBack || this.#world.gates.isClosed(machine, agent.state.raft.accepted.era.id, was.epoch)) return;
    this.#world.rare.saw('planned move taken back by a leader');
    const since = this.#trials.get(`${agent.life} ${agent.state.raft.term} ${was.epoch}`);
    must(
      since !== undefined && agent.machine.bootMs() - since >= waitMs,
      'who-is-on-trial-is-given-time',
      () => `${agent.life} takes GitLab back from ${was.host}, and knows since ${since} that it moved there`,
    );
  }

  /** Since when, by its clock, that leader has known of it. */
  #knows(agent: Agent): void {
    const { committed, leading, term } = agent.state.raft;
    const { host, epoch, hosted } = committed?.gitlab ?? {};
    if (leading === null || hosted?.move === undefined || hosted.move.to !== host) return;
    const key = `${agent.life} ${term} ${epoch}`;
    if (!this.#trials.has(key)) this.#trials.set(key, agent.machine.bootMs());
  }

  /** SAFETY H7: an epoch is over in the ledger when no gate is open for it any more. */
  #endsRightly(agent: Agent, before: CoreState): void {
    const { raft } = agent.state;
    const [was, is] = [before.raft.accepted, raft.accepted];
    if (was === is || was.gitlab.mode !== 'hosted' || raft.leading === null || was.era.id !== is.era.id) return;
    if (is.gitlab.mode === 'hosted' && is.gitlab.epoch === was.gitlab.epoch) {
      const hasStood = was.gitlab.hosted?.move?.to === was.gitlab.host && !is.gitlab.hosted?.move;
      const isShut =
        hasStood && this.#world.gates.isClosed(this.#world.machine(is.gitlab.host!), was.era.id, is.gitlab.epoch);
      must(
        !isShut,
        'what-stands-can-be-served',
        () => `${agent.life} has it stand, and its gate is closed for epoch ${is.gitlab.epoch}`,
      );
      const isAnew = was.gitlab.url !== null && is.gitlab.url === null;
      must(!isAnew, 'other-data-begin-an-epoch', () => `${agent.life} has other data in epoch ${is.gitlab.epoch}`);
      return;
    }
    const { host, epoch } = was.gitlab;
    const isMove = is.gitlab.host !== host && is.gitlab.hosted?.data === was.gitlab.hosted?.data;
    if (is.gitlab.mode === 'hosted' && isMove) {
      this.#moves(agent, was.gitlab, is.gitlab);
      if (!is.gitlab.hosted?.move?.unplanned) this.#beginsWith(agent, was.gitlab, is.gitlab);
    } else if (is.gitlab.mode === 'hosted') this.#beginsAnew(agent, is.gitlab.hosted?.copies?.set, is.gitlab.epoch);
    if (!this.#world.hasMachine(host ?? '')) return;
    const machine = this.#world.machine(host!);
    if (!Object.hasOwn(was.nodes, host!)) this.#world.rare.saw('hosting ended for a host that was removed');
    const lease = this.#world.gates.lease(machine, was.era.id);
    const isHeld = lease?.epoch === epoch && lease.until > machine.bootMs();
    must(
      !isHeld || this.#world.gates.isClosed(machine, was.era.id, epoch),
      'an-epoch-ends-when-its-gate-is-shut',
      () =>
        `${agent.life} ends epoch ${epoch}, and ${host} serves it for ${Math.round(lease!.until - machine.bootMs())} ms more`,
    );
  }
}
