import type { Change } from '../../protocol/changes.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { newestOf, type RoundName, readRoundName, roundText } from '../../protocol/round-name.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { StandbyRules } from '../../scheduler/hosting/copies/standby-rules.ts';
import { mayBegin } from '../../scheduler/hosting/failover-rules.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import type { Agent } from './agent.ts';
import { require as must } from './violation.ts';
import type { World } from './world.ts';

/** ms that a push waits for a member before that is taken out of the in-sync set. */
const leavesMs = 1200;
const sayAgainMs = 300;

/** A number that somebody had written, and waits to be told so. */
interface Push {
  readonly writes: number;
  readonly at: number;
}

/**
 * Rounds of a hosted GitLab between machines, and the pushes that wait for them (SAFETY H10), in small: what GitLab was given is one number,
 * which is in the data, in each round of them, and in nothing else. The rules of copies themselves are tried in test/sim/copies.
 */
export class RoundShell {
  readonly #world: World;
  readonly #agent: Agent;
  readonly #ask: (change: Change, againMs: number) => void;
  /** The newest round of this epoch that each machine has said to hold, to this agent. */
  #held = new Map<string, number>();
  #epoch = 0;
  #waiting: Push[] = [];
  /** The highest number that was let go: whoever comes in must have it. */
  #released = 0;
  /** Waited for from the decision on, until the ledger is past the version that it was asked with. */
  #newcomer: { node: string; from: number } | null = null;
  /** As one that holds copies. */
  readonly #rules = new StandbyRules();
  /** What this agent told a leader last. */
  #told: { era: string; epoch: number; name: RoundName } | null = null;

  constructor(world: World, agent: Agent, ask: (change: Change, againMs: number) => void) {
    this.#world = world;
    this.#agent = agent;
    this.#ask = ask;
  }

  get #hosted() {
    return this.#agent.machine.hosted;
  }

  #key = (data: string, name: RoundName): string => `${data} ${roundText(name)}`;

  round(data: string, epoch: number): RoundName {
    const hosted = this.#hosted;
    hosted.rounds += 1;
    const name = { era: this.#agent.ledger!.era.counter, epoch, number: hosted.rounds };
    hosted.held.set(this.#key(data, name), hosted.volume!.writes);
    this.#thin(data);
    return name;
  }

  /** `arrived` when the other machine has it on its disk, and this one has heard so. */
  sends(node: string, data: string, name: RoundName, arrived: () => void): void {
    const { timeline, chance, faults } = this.#world;
    const { machine } = this.#agent;
    const { id, boot } = machine;
    const key = this.#key(data, name);
    timeline.after(chance.spread(10, 300), () => {
      const writes = this.#hosted.held.get(key);
      const other = this.#world.agentOf(node);
      if (writes === undefined || machine.power !== 'on' || machine.boot !== boot || faults.isCut(id, node)) return;
      if (!other?.isRunning || !other.host.rounds.takes(id, data, name, writes)) return;
      if (this.#agent.isRunning && !faults.isCut(node, id)) arrived();
    });
  }

  /** A round of the ledger's host and epoch alone (SAFETY H10). */
  takes(from: string, data: string, name: RoundName, writes: number): boolean {
    const mine = hostingOf(this.#agent.ledger);
    const era = this.#agent.ledger?.era.counter;
    if (mine?.host !== from || mine.data !== data || mine.epoch !== name.epoch || era !== name.era) return false;
    this.#hosted.held.set(this.#key(data, name), writes);
    this.#rules.named({ name, parent: null }, []);
    this.#thin(data);
    return true;
  }

  #roundsOf(data: string): RoundName[] {
    const all = [...this.#hosted.held.keys()].filter((key) => key.startsWith(`${data} `));
    return all.flatMap((key) => readRoundName(key.slice(data.length + 1)) ?? []);
  }

  /** Whatever need not stay goes, now and then: as on a disk that is nearly full. */
  #thin(data: string): void {
    const rounds = this.#roundsOf(data).map((name) => ({ name, parent: null }));
    if (rounds.length < 4 || !this.#world.chance.maybe(0.3)) return;
    const { copies, epoch = 0 } = hostingOf(this.#agent.ledger) ?? {};
    const newest = newestOf(rounds)!.name;
    const stay = new Set([newest, ...this.#rules.pins(rounds, copies?.bases[epoch] ?? null, epoch)].map(roundText));
    for (const { name } of rounds) if (!stay.has(roundText(name))) this.#hosted.held.delete(this.#key(data, name));
    // A leader of an era that this machine has left has nobody go on here.
    const isOwed = this.#told?.epoch === epoch && this.#told.era === this.#agent.ledger?.era.id;
    const told = isOwed ? this.#key(data, this.#told!.name) : null;
    must(
      told === null || this.#hosted.held.has(told),
      'what-was-told-stays',
      () => `${this.#agent.life} let go ${told}, with which the epoch after ${epoch} may begin`,
    );
  }

  /** The leader asks with which round GitLab could go on here. */
  find({ to, nonce, epoch, data }: EffectOf<'find-round'>): void {
    const { ledger, machine } = this.#agent;
    const hosting = hostingOf(ledger);
    const isMine = hosting?.data === data && hosting.epoch === epoch && hosting.host !== machine.id;
    const rounds = ledger && isMine ? this.#roundsOf(data).filter((name) => mayBegin(ledger, hosting, name)) : [];
    const round = newestOf(rounds.map((name) => ({ name })))?.name ?? null;
    if (round) this.#rules.promise(epoch, round);
    if (round) this.#told = { era: ledger!.era.id, epoch, name: round };
    const there = {
      place: { kind: 'image' as const, path: `/srv/copies-${machine.id}` },
      hostname: `${machine.id}.lab`,
    };
    const because = round ? null : 'it holds none';
    const told: MessageOf<'round-told'> = {
      ...{ kind: 'round-told', nonce, epoch, data, round, because },
      ...{ takenAt: round && machine.wallMs(), there: round && there },
    };
    this.#world.timeline.after(this.#world.chance.spread(0.1, 40), () =>
      this.#agent.later(() => this.#agent.feed({ kind: 'round-found', to, told })),
    );
  }

  // --- as the host

  /** Somebody pushes, as the gate is open; it waits for who is in sync. */
  pushed({ data, epoch }: Hosting): void {
    const { volume } = this.#hosted;
    if (volume?.data !== data || volume.epoch !== epoch) return;
    volume.writes += 1;
    this.#waiting.push({ writes: volume.writes, at: this.#agent.machine.bootMs() });
  }

  /** The host's word of who is in sync, and whose pushes are let go; each turn while the gate is open. */
  tend(mine: Hosting): void {
    const { data, epoch, copies } = mine;
    const { volume } = this.#hosted;
    if (this.#epoch !== epoch) this.#anew(epoch);
    if (volume?.data !== data || volume.epoch !== epoch) return;
    if (copies === undefined) return this.#letGo(mine, []);
    const { version: from, boot, members } = copies.set;
    const own = this.#agent.life;
    if (boot !== own) {
      const base = copies.bases[epoch] === undefined ? this.round(data, epoch) : null;
      return this.#ask({ kind: 'copies-begin', data, epoch, from, boot: own, base }, sayAgainMs);
    }
    if (this.#newcomer && from > this.#newcomer.from) this.#newcomer = null;
    this.#copies(mine);
    this.#letGo(mine, members);
    const late = members.filter((node) => this.#isLate(node));
    if (late.length > 0)
      return this.#ask({ kind: 'copies-leave', data, epoch, from, nodes: late, because: 'it is late' }, sayAgainMs);
    this.#enter(mine);
  }

  #anew(epoch: number): void {
    this.#epoch = epoch;
    this.#held = new Map();
    this.#waiting = [];
    this.#newcomer = null;
    this.#released = 0;
  }

  #copies({ data, epoch, copies }: Hosting): void {
    const { volume } = this.#hosted;
    const behind = (copies?.standbys ?? []).filter(({ node }) => (this.#held.get(node) ?? -1) < volume!.writes);
    if (behind.length === 0) return;
    const name = this.round(data, epoch);
    const { writes } = volume!;
    for (const { node } of behind)
      this.sends(node, data, name, () => {
        if (this.#epoch === epoch) this.#held.set(node, Math.max(this.#held.get(node) ?? 0, writes));
      });
  }

  /** Whoever waits for what all of them have is told that it is written. */
  #letGo({ data, epoch }: Hosting, members: readonly string[]): void {
    const needed = this.#newcomer ? [...members, this.#newcomer.node] : members;
    const done = this.#waiting.filter(({ writes }) => needed.every((node) => (this.#held.get(node) ?? -1) >= writes));
    if (done.length === 0 || !this.#hosted.isOpen) return;
    this.#waiting = this.#waiting.filter((one) => !done.includes(one));
    this.#released = Math.max(this.#released, ...done.map(({ writes }) => writes));
    this.#world.moves.answered(this.#agent, data, this.#released, members.length > 0);
    this.#world.sides.answered(this.#agent, data, epoch);
  }

  #isLate(node: string): boolean {
    const at = this.#agent.machine.bootMs();
    return this.#waiting.some((push) => at - push.at > leavesMs && (this.#held.get(node) ?? -1) < push.writes);
  }

  #enter({ data, epoch, copies }: Hosting): void {
    const { version: from, members } = copies!.set;
    const near = this.#hosted.volume!.writes - 4;
    const other = copies!.standbys.find(({ node }) => !members.includes(node) && (this.#held.get(node) ?? -1) >= near);
    if (!this.#newcomer && other) this.#newcomer = { node: other.node, from };
    const one = this.#newcomer;
    if (one && (this.#held.get(one.node) ?? -1) >= this.#released)
      this.#ask({ kind: 'copy-enters', data, epoch, from: one.from, node: one.node }, sayAgainMs);
  }
}
