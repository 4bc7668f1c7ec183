import { type GitlabLife, newLife, nextLife } from '../../node/hosting/gitlab-state.ts';
import { isOnTrial } from '../../node/hosting/move/move-steps.ts';
import { isAheadOf, othersAmong } from '../../node/hosting/other-services.ts';
import type { Change } from '../../protocol/changes.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { epochFollowing } from '../../scheduler/hosting/epochs.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import type { Agent } from './agent.ts';
import { adminToken } from './gitlab-effects.ts';
import type { HostedService } from './hosted-machine.ts';
import { MoveShell } from './move-shell.ts';
import { RoundShell } from './round-shell.ts';
import { SidesShell } from './sides-shell.ts';
import type { World } from './world.ts';

/** Once a second there; here everything is in a hurry. */
const turnMs = 250;
/** ms between two tries of what the mesh did not take. */
const sayAgainMs = 1000;

/** The GitLab that this agent keeps. */
interface Kept {
  readonly data: string;
  readonly epoch: number;
  life: GitlabLife;
  /** What stands behind the doors; null until the first look: then no lease counts. */
  behind: { upstream: string | null; isServing: boolean } | null;
  /** ms of boot time until which the gate goes by a lease. */
  until: number;
  isClosed: boolean;
}

const isSame = (one: { data: string; epoch: number }, other: { data: string; epoch: number } | null): boolean =>
  one.data === other?.data && one.epoch === other.epoch;

/**
 * The duties of node/hosting towards the core, by its own pure parts: a lease goes to the gate; what the ledger says is done,
 * and said. Data are replaced as a restore does it, and who stands by is told to the ledger.
 */
export class HostShell {
  readonly #world: World;
  readonly #agent: Agent;
  readonly #move: MoveShell;
  readonly rounds: RoundShell;
  readonly #sides: SidesShell;
  #kept: Kept | null = null;
  #isTurning = false;
  #isAsking = false;
  #isSwapping = false;

  constructor(world: World, agent: Agent) {
    this.#world = world;
    this.#agent = agent;
    const ask = (change: Change, againMs: number): void => this.#ask(change, againMs);
    this.#sides = new SidesShell(world, agent);
    this.rounds = new RoundShell(world, agent, ask);
    this.#move = new MoveShell(world, agent, this.rounds, ask);
  }

  hold({ epoch, until }: EffectOf<'hold-lease'>): void {
    const kept = this.#kept;
    if (kept?.epoch === epoch && !kept.isClosed && kept.behind !== null) this.#renew(kept, until);
    this.tend();
  }

  end({ epoch }: EffectOf<'end-lease'>): void {
    if (this.#kept?.epoch === epoch) this.#kept.isClosed = true;
    this.#close(epoch);
    this.tend();
  }

  /** What the committed ledger wants of this machine is looked at, until there is nothing more to look at. */
  tend(): void {
    if (!this.#world.hosts || !this.#agent.isAlive) return;
    this.#sides.tend();
    if (this.#isTurning) return;
    this.#turn();
    const { machine, ledger } = this.#agent;
    const { remembered, services } = machine.hosted;
    const isHost = hostingOf(ledger)?.host === machine.id;
    if (!isHost && this.#kept === null && remembered === null && services.size === 0) return;
    this.#isTurning = true;
    this.#world.timeline.after(turnMs, () => {
      this.#isTurning = false;
      this.#agent.later(() => this.tend());
    });
  }

  // --- the gate

  /** By the time of the write; what was on its way when its agent ended may come all the same. */
  #write(epoch: number, until: number, behind: Kept['behind'], written: () => void): void {
    const { machine, state } = this.#agent;
    const { timeline, chance } = this.#world;
    const { boot } = machine;
    const era = state.raft.accepted.era.id;
    machine.hosted.startGate(era);
    timeline.after(chance.spread(0.2, 30), () => {
      if (machine.power !== 'on' || machine.boot !== boot || machine.hosted.era !== era) return;
      const { upstream = null, isServing = false } = behind ?? {};
      machine.hosted.tellGate({ epoch, until, upstream, isServing, because: 'told' });
      written();
    });
  }

  #renew(kept: Kept, until: number): void {
    const { hosted } = this.#agent.machine;
    if (kept.behind?.upstream) hosted.covers(kept.behind.upstream, until);
    this.#write(kept.epoch, until, kept.behind, () => {
      kept.until = Math.max(kept.until, until);
    });
  }

  #close(epoch: number): void {
    const { machine, state } = this.#agent;
    const era = state.raft.accepted.era.id;
    machine.hosted.freezeAll();
    this.#write(epoch, 0, null, () => {
      this.#world.gates.closed(machine, era, epoch);
      this.#agent.later(() => this.#agent.feed({ kind: 'gate-closed', epoch }));
    });
  }

  // --- one look

  #turn(): void {
    const { machine, ledger } = this.#agent;
    const { hosted } = machine;
    if (!ledger) return;
    const right = hostingOf(ledger);
    const mine = right?.host === machine.id ? right : null;
    if (this.#kept === null && hosted.remembered !== null) this.#kept = this.#keep(hosted.remembered);
    if (this.#kept !== null && !isSame(this.#kept, mine)) {
      if (isAheadOf({ epoch: this.#kept.epoch, mesh: ledger.mesh.id }, ledger)) return;
      return this.#giveUp(this.#kept);
    }
    for (const other of othersAmong([...hosted.services.values()], right, ledger.gitlab.epoch))
      this.#kill(other as HostedService, 'killed');
    this.#world.gates.keeps(this.#agent, ledger);
    if (mine === null) return;
    hosted.remembered ??= { data: mine.data, epoch: mine.epoch };
    this.#kept ??= this.#keep(mine);
    if (mine.ending?.drained) return this.#takeDown(this.#kept, mine);
    if (this.#isReplaced(this.#kept, mine)) return;
    if (this.#isMoved(this.#kept, mine)) return;
    this.#lookAfter(this.#kept, mine);
  }

  #keep({ data, epoch }: { data: string; epoch: number }): Kept {
    const { gitlab } = this.#agent.ledger ?? {};
    // Where it moved to it has yet to come up.
    const life = newLife(gitlab?.url != null && gitlab.hosted?.move?.to !== gitlab.host);
    return { data, epoch, life, behind: null, until: 0, isClosed: false };
  }

  #own({ data, epoch }: Kept): HostedService | null {
    const { hosted, id } = this.#agent.machine;
    const all = [...hosted.services.values()];
    return all.find((one) => one.data === data && one.epoch === epoch && one.host === id) ?? null;
  }

  #kill(service: HostedService, how: 'killed' | 'made anew'): void {
    this.#world.gates.ends(this.#agent, service, how);
    this.#agent.machine.hosted.remove(service, how);
  }

  /** Gate shut, container gone; its data stay. */
  #giveUp(kept: Kept): void {
    const { hosted } = this.#agent.machine;
    if (!kept.isClosed || !this.#isShut(kept)) {
      kept.isClosed = true;
      return this.#close(kept.epoch);
    }
    const own = this.#own(kept);
    if (own) this.#kill(own, 'killed');
    hosted.remembered = null;
    this.#kept = null;
  }

  #isShut({ epoch }: Kept): boolean {
    const { machine, state } = this.#agent;
    return this.#world.gates.isClosed(machine, state.raft.accepted.era.id, epoch);
  }

  #takeDown(kept: Kept, { data, epoch }: Hosting): void {
    if (!kept.isClosed || !this.#isShut(kept)) {
      kept.isClosed = true;
      return this.#close(epoch);
    }
    const own = this.#own(kept);
    if (own) this.#agent.machine.hosted.remove(own, 'GitLab is uninstalled');
    if (this.#agent.state.hosting.closed >= epoch) this.#ask({ kind: 'gitlab-ended', data, epoch }, 100);
  }

  /** Other data in the place of those that it has: begun on the disk, so that whichever agent comes next does it to its end. */
  #isReplaced(kept: Kept, mine: Hosting): boolean {
    const { hosted } = this.#agent.machine;
    const { restoring } = hosted;
    if (restoring === null) return false;
    if (!isSame(restoring, kept)) {
      hosted.restoring = null;
      return false;
    }
    if (!kept.isClosed || !this.#isShut(kept)) {
      kept.isClosed = true;
      this.#close(kept.epoch);
      return true;
    }
    const own = this.#own(kept);
    if (own) hosted.remove(own, 'its data are replaced');
    if (this.#isSwapping) return true;
    this.#isSwapping = true;
    this.#world.timeline.after(this.#world.chance.spread(20, 400), () => {
      this.#isSwapping = false;
      this.#agent.later(() => {
        hosted.generation += 1;
        if (hosted.volume?.data === restoring.data)
          hosted.volume.epoch = epochFollowing(mine.epoch, this.#agent.ledger);
        this.#ask(
          { kind: 'gitlab-restored', ...restoring, marksAnew: true, countsSides: true, because: 'a person asked' },
          sayAgainMs,
        );
      });
    });
    return true;
  }

  /** SAFETY H7, H10: by the product's own steps. */
  #isMoved(kept: Kept, mine: Hosting): boolean {
    const { passage } = this.#agent.machine.hosted;
    if (passage.kind === 'open' && passage.epoch === mine.epoch) {
      if (!this.#sides.refusesPush()) this.rounds.pushed(mine);
      this.rounds.tend(mine);
    }
    const own = this.#own(kept);
    const step = this.#move.next(mine, {
      isClosed: kept.isClosed && this.#isShut(kept),
      hasEnded: own === null,
      works: kept.life.hasWorked,
    });
    if (step.kind === 'close') {
      kept.isClosed = true;
      this.#close(kept.epoch);
    }
    if (step.kind === 'end' && own) this.#agent.machine.hosted.remove(own, 'GitLab moves');
    return this.#move.act(mine, step);
  }

  #lookAfter(kept: Kept, mine: Hosting): void {
    const { data, epoch, host } = mine;
    const { machine, ledger } = this.#agent;
    const { hosted } = machine;
    const own = this.#own(kept);
    const mayRun = kept.until > machine.bootMs();
    const isBeginning = own?.isRunning === true && kept.behind === null;
    const isAsked = own?.isRunning && !own.isFrozen && (mayRun || isBeginning);
    const { life, act } = nextLife(kept.life, {
      nowMs: machine.bootMs(),
      container: own === null ? 'absent' : own.isRunning ? 'running' : 'ended',
      isFrozen: own?.isFrozen ?? false,
      ...(isAsked && { problem: this.#world.now >= own.worksAt ? null : 'it boots' }),
      pressure: null,
      mayRun: mayRun || isBeginning,
    });
    kept.life = life;
    const isServing = life.hasWorked && act === 'none' && !isOnTrial(mine);
    this.#tell(kept, { upstream: own?.isRunning ? own.id : null, isServing });
    if (act !== 'none' && mayRun && this.#move.hasData(mine)) {
      if (own) this.#kill(own, 'made anew');
      const bootMs = this.#move.isHopeless(mine) ? Number.POSITIVE_INFINITY : this.#world.chance.spread(20, 600);
      hosted.begin({ data, epoch, host }, bootMs);
    }
    const now = hosted.passage;
    if (ledger?.gitlab.url !== null || now.kind !== 'open' || now.epoch !== epoch) return;
    this.#world.gitlab.beginsAnew(`${data} ${String(epoch).padStart(6, '0')}`);
    const said = { url: 'http://gitlab.lab', token: adminToken, instance: data };
    this.#ask({ kind: 'gitlab-stands', data, epoch, ...said }, sayAgainMs);
  }

  /** What changed behind the doors reaches the gate at once, within the lease that it has. */
  #tell(kept: Kept, behind: NonNullable<Kept['behind']>): void {
    const isNew = kept.behind?.upstream !== behind.upstream || kept.behind.isServing !== behind.isServing;
    kept.behind = behind;
    if (isNew && kept.until > this.#agent.machine.bootMs()) this.#renew(kept, kept.until);
  }

  /** One at a time. */
  #ask(change: Parameters<World['people']['ofShell']>[1], againMs: number): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#agent.later(() => this.#world.people.ofShell(this.#agent, change));
    this.#world.timeline.after(againMs, () => {
      this.#isAsking = false;
    });
  }
}
