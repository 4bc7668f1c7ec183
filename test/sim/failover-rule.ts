import type { Ledger } from '../../protocol/ledger.ts';
import { roundText } from '../../protocol/round-name.ts';
import type { Effect } from '../../scheduler/effects.ts';
import type { Input } from '../../scheduler/inputs.ts';
import type { CoreState } from '../../scheduler/state.ts';
import type { Agent } from './agent.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

type Gitlab = Ledger['gitlab'];

/** Written again: the rules share no code with what they check. */
const waitMs = 5000;
const startMs = 30_000;
const inSyncGraceMs = 45_000;
const countMost = 3;

/**
 * GitLab goes on elsewhere by itself only after a silence, only where it may, and only with what has all that was acknowledged (SAFETY H7,
 * H10), at the very step in which a leader names the next machine.
 */
export class FailoverRule {
  readonly #world: World;
  /** Each leader's life and term -> when it began, by its clock. */
  readonly #since = new Map<string, number>();
  /** Each agent's life and machine -> when that was heard last, whatever it said. */
  readonly #heard = new Map<string, number>();
  /** The same of what is asked for a lease, and of rounds of a leader that were answered: from when they were sent. */
  readonly #answered = new Map<string, number>();
  /** Each leader's life and term -> when it gave a lease last. */
  readonly #gave = new Map<string, number>();
  readonly #sent = new Map<string, Map<number, number>>();

  constructor(world: World) {
    this.#world = world;
  }

  stepped(agent: Agent, before: CoreState, input: Input): void {
    const { raft } = agent.state;
    const at = agent.machine.bootMs();
    if (input.kind === 'heard' || input.kind === 'report-heard') this.#heard.set(`${agent.life} ${input.from}`, at);
    if (raft.leading === null) return;
    const reign = `${agent.life} ${raft.accepted.era.id} ${raft.term}`;
    if (!this.#since.has(reign)) this.#since.set(reign, at);
    if (input.kind === 'heard' && input.message.kind === 'lease-ask') this.#answered.set(`${reign} ${input.from}`, at);
    if (input.kind === 'heard' && input.message.kind === 'ack' && input.message.term === raft.term)
      this.#answers(reign, input.from, input.message.round);
    const [was, is] = [before.raft.accepted.gitlab, raft.accepted.gitlab];
    if (was === is || before.raft.accepted.era.id !== raft.accepted.era.id || was.epoch === is.epoch) return;
    if (is.hosted?.move?.unplanned && is.hosted.data === was.hosted?.data) this.#names(agent, before, reign, is);
  }

  /** A round that this leader sent. */
  sends(agent: Agent, round: number): void {
    const { raft } = agent.state;
    const reign = `${agent.life} ${raft.accepted.era.id} ${raft.term}`;
    const rounds = this.#sent.get(reign) ?? new Map<number, number>();
    this.#sent.set(reign, rounds);
    if (!rounds.has(round)) rounds.set(round, agent.machine.bootMs());
  }

  /** Whoever is asked before may be told by its host of a push that is let go after it has answered. */
  performs({ machine, life, state }: Agent, effect: Effect): void {
    const { raft } = state;
    const message = effect.kind === 'send' ? effect.message.kind : null;
    const asksItself = effect.kind === 'find-round' && effect.to === machine.id;
    if (message !== 'lease-given' && message !== 'round-ask' && !asksItself) return;
    const reign = `${life} ${raft.accepted.era.id} ${raft.term}`;
    if (message === 'lease-given') return void this.#gave.set(reign, machine.bootMs());
    const since = Math.max(this.#since.get(reign) ?? machine.bootMs(), this.#gave.get(reign) ?? 0);
    const hasFailed = raft.accepted.gitlab.hosted?.move?.unplanned?.failed !== undefined;
    must(
      hasFailed || machine.bootMs() - since >= waitMs,
      'rounds-are-asked-for-when-every-lease-is-out',
      () => `${life} asks for rounds ${Math.round(machine.bootMs() - since)} ms after its election or its last lease`,
    );
  }

  #answers(reign: string, from: string, round: number): void {
    const at = this.#sent.get(reign)?.get(round);
    const key = `${reign} ${from}`;
    if (at !== undefined) this.#answered.set(key, Math.max(at, this.#answered.get(key) ?? 0));
  }

  #names(agent: Agent, before: CoreState, reign: string, is: Gitlab): void {
    const { accepted } = before.raft;
    const { gitlab: was } = accepted;
    this.#world.rare.saw('epoch begun by an unplanned move');
    this.#mayAtAll(agent, accepted);
    this.#isSuccessor(agent, was, is);
    if (was.hosted?.move?.unplanned?.failed === undefined) this.#hasWaited(agent, accepted, reign);
    else this.#world.rare.saw('unplanned move went on to the next machine');
    this.#beginsRightly(agent, was, is);
    this.#world.moves.takenOver(accepted.era.id, is.hosted!.data);
  }

  #mayAtAll({ life }: Agent, { gitlab, settings }: Ledger): void {
    const { hosted, url, host } = gitlab;
    const { ending, upgrade, move, failover } = hosted!;
    const isOnTrial = move?.to === host && !move?.unplanned;
    must(
      (settings.failover ?? true) && !ending && !upgrade && !isOnTrial && url !== null && !failover?.flag,
      'nobody-takes-over-what-is-under-way',
      () =>
        `${life} takes GitLab over, and the ledger says ${JSON.stringify({ url, ending, upgrade, move, failover })}`,
    );
    must(
      (failover?.count ?? 0) < countMost,
      'gitlab-does-not-go-round',
      () => `${life} has GitLab move by itself though it did so ${failover?.count} times`,
    );
  }

  /** Only a member; with nobody in sync who left last; with nobody ever whoever holds the base. */
  #isSuccessor({ life }: Agent, was: Gitlab, is: Gitlab): void {
    const { standbys, set } = was.hosted!.copies!;
    const chosen = standbys.map(({ node }) => node);
    const may = set.members.length > 0 ? set.members : (set.last ?? chosen);
    if (set.members.length === 0) this.#world.rare.saw('unplanned move to a machine that was not in sync');
    must(
      may.includes(is.host!) && chosen.includes(is.host!) && is.host !== was.host,
      'only-who-is-in-sync-goes-on-by-itself',
      () => `${life} has ${is.host} go on, in sync are ${set.members}, were last ${set.last}, standbys ${chosen}`,
    );
  }

  #hasWaited({ life, machine }: Agent, { gitlab, settings, nodes }: Ledger, reign: string): void {
    const host = gitlab.host!;
    const at = machine.bootMs();
    const since = Math.max(this.#since.get(reign) ?? at, this.#answered.get(`${reign} ${host}`) ?? 0);
    const isInSync = gitlab.hosted!.copies!.set.members.length > 0;
    const wasHeard = this.#heard.has(`${life} ${host}`);
    const { left = false, backMs = 0, bootMs = 0 } = nodes[host] ?? {};
    const short = Math.min(settings.inSyncGraceMs ?? inSyncGraceMs, settings.graceMs);
    const usual = wasHeard ? (isInSync ? short : settings.graceMs) : Math.max(settings.graceMs, 2 * bootMs) + startMs;
    if (!wasHeard) this.#world.rare.saw('unplanned move after all were switched off');
    // A person's word waits for no grace, but for every lease.
    const isWanted = gitlab.hosted!.failover?.wanted !== undefined;
    const grace = isWanted ? 0 : Math.max(usual, left ? backMs : 0);
    // What was heard as refused, or as a look that found nothing, counts from a moment before.
    must(
      at - since >= Math.max(grace, waitMs) - 1000,
      'a-silent-host-is-given-its-grace',
      () => `${life} has GitLab move ${Math.round(at - since)} ms after ${host} was heard: its grace is ${grace} ms`,
    );
  }

  /** On the disk of whoever goes on, and no older than what anybody was told is safe. */
  #beginsRightly({ life, state }: Agent, was: Gitlab, is: Gitlab): void {
    const { era } = state.raft.accepted;
    const { data, copies } = is.hosted!;
    const base = copies?.bases[is.epoch];
    if (era.counter > 0 || !this.#world.hasMachine(is.host!)) return;
    const key = base && `${data} ${roundText(base)}`;
    const held = this.#world.machine(is.host!).hosted.held.get(key ?? '');
    const isInSync = was.hosted!.copies!.set.members.length > 0;
    must(
      held !== undefined,
      'who-goes-on-holds-its-base',
      () => `${life} has ${is.host} go on with ${key}, which is not there`,
    );
    const kept = this.#world.moves.keptOf(era.id, data);
    must(
      !isInSync || held >= kept,
      'a-base-is-no-older-than-what-was-acknowledged',
      () => `${life} has ${is.host} go on with ${key}, which has ${held}: ${kept} was acknowledged`,
    );
    const former = was.hosted!.copies!.bases[was.epoch];
    // Nobody was served on trial: who was in sync before it has all that was acknowledged.
    const isOfBefore = was.hosted!.move?.unplanned !== undefined && isInSync && base?.epoch === former?.epoch;
    must(
      isOfBefore || base?.epoch === was.epoch || (former !== undefined && key === `${data} ${roundText(former)}`),
      'a-base-is-of-the-epoch-before',
      () =>
        `${life} begins epoch ${is.epoch} with ${key}: epoch ${was.epoch} began with ${former && roundText(former)}`,
    );
  }
}
