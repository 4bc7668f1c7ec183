import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Change } from '../../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { HostedMove } from '../../../protocol/hosted-move.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { MoveSeen } from '../../../protocol/report.ts';
import { roundText } from '../../../protocol/round-name.ts';
import { epochFollowing } from '../../../scheduler/hosting/epochs.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import { hostingTimings } from '../../../scheduler/hosting/hosting-timings.ts';
import { nodeName } from '../../../scheduler/snapshot-view.ts';
import { asAfterPowerCut } from '../after-power-cut.ts';
import type { KeeperOptions } from '../gitlab-keeper-options.ts';
import type { HostingMemory, Moving } from '../hosting-memory.ts';
import type { KeptGitlab } from '../kept-gitlab.ts';
import { treeOf } from '../place-tree.ts';
import type { FoundService } from '../service-host.ts';
import { markNext } from '../vault/data-swap.ts';
import type { TargetSeen } from './move-ports.ts';
import { isOnTrial, type MoveLook, type MoveStep, nextMoveStep, trialTimings, whyNotUp } from './move-steps.ts';

interface Hands {
  options: KeeperOptions;
  memory: HostingMemory;
  endGently(id: string): Promise<void>;
  /** It has ended when this resolves, and is being taken away. */
  endAtOnce(id: string): Promise<Removing>;
}

interface Removing {
  done: Promise<void>;
}

const timings = {
  askMs: 2_000,
  /** Of one turn, that is waited for a round; looked at so often. */
  lookMs: 1_000,
  newsMs: 20,
  /** To get the image and be in sync; GitLab serves meanwhile. */
  readyMs: 3_600_000,
  /** For the last round to be taken and to arrive; nobody is served meanwhile. */
  arriveMs: 180_000,
} as const;

/**
 * A planned move of GitLab to another machine, at both ends: from here, while the ledger wishes it, and to here, until it stands
 * (`move-steps.ts` decides what is next). What was begun is on the disk before the gate is closed, and is done to its end, or
 * given up, by whichever agent comes next.
 */
export class GitlabMove {
  readonly #hands: Hands;
  /** Since when, by boot time of this agent, it waits for that. */
  #since: { key: string; at: number } | null = null;
  #target: { to: NodeId; seen: TargetSeen; at: number } | null = null;
  #isAsking = false;
  /** On trial: since when the keeper's looks fail before they come to the move; and when what runs stands still, once that was given up. */
  #blind: { epoch: number; at: number; stillAt: number | null } | null = null;
  /** One at a time; null: none was asked for, or that failed. */
  #round: { epoch: number; made: Promise<void> } | null = null;
  #roundProblem: string | null = null;
  /** What has ended, and is being taken away. */
  #removing: Removing = { done: Promise.resolve() };

  constructor(hands: Hands) {
    this.#hands = hands;
  }

  /**
   * A person wants it no more. Null: it is not begun any more, whatever becomes of this agent's next words; else why it is too late: what was
   * written down before the gate was closed is done to its end, or given up, in another epoch.
   */
  cancel(mine: Hosting, because: string): string | null {
    const { move } = mine;
    if (move === undefined) return 'nobody asked for a move, or it was given up';
    const name = this.#name(move.to);
    if (isOnTrial(mine)) return `all of GitLab is on ${name} already`;
    if (this.#journal(mine) !== null) return `its gate is shut for it already, and all of it goes to ${name}`;
    this.#hands.memory.write(mine.data, { vain: { wish: wishOf(move), because } });
    return null;
  }

  /** In the keeper's loop, with the ledger of now: true when this turn was its own. */
  async turn(kept: KeptGitlab, mine: Hosting, own: FoundService | null): Promise<boolean> {
    this.#blind = null;
    if (mine.move === undefined) {
      kept.moving = null;
      return false;
    }
    if (!isOnTrial(mine)) this.#ask(mine, mine.move.to);
    const look = this.#look(kept, mine, own);
    const step = nextMoveStep(look);
    const waits = step.kind === 'wait' ? this.#whyWait(mine) : null;
    kept.moving = this.#phase(step, mine, waits);
    await this.#act(kept, mine, step, own);
    // Nobody is served meanwhile; and what began now to read these data would be cut off.
    const isNextKnown = ['begin', 'close', 'end', 'say'].includes(step.kind);
    if (isNextKnown) return this.turn(kept, mine, step.kind === 'end' ? null : own);
    if (['round', 'send'].includes(step.kind) && (await this.#isNews(mine))) return this.turn(kept, mine, own);
    return !['none', 'wait', 'try', 'say', 'stands'].includes(step.kind);
  }

  /**
   * The keeper cannot look at all, as its engine is gone. Of a trial that is given up after a while: nobody was let in, its gate is closed, and
   * what runs stands still from the end of its lease on (SAFETY H2), which is waited for. What was said to stand is not: the leader counts.
   */
  async blind(kept: KeptGitlab | null, mine: Hosting | null, because: string): Promise<void> {
    const { clock, log } = this.#hands.options;
    const isTrial = mine !== null && isOnTrial(mine) && mine.move?.unplanned?.failed === undefined;
    if (!isTrial || kept?.hosting.epoch !== mine.epoch || this.#journal(mine)?.isSaid) return;
    const { epoch, data } = mine;
    const now = clock.bootMs();
    if (this.#blind?.epoch !== epoch) this.#blind = { epoch, at: now, stillAt: null };
    const { at, stillAt } = this.#blind;
    if (now - at < trialTimings.gateMs) return;
    const why = this.#journal(mine)?.givenUp ?? `GitLab did not come up on ${this.#name(mine.move!.to)}: ${because}`;
    try {
      if (stillAt === null) {
        await this.#act(kept, mine, { kind: 'give-up', because: why }, null);
        await this.#act(kept, mine, { kind: 'close' }, null);
        this.#blind = { epoch, at, stillAt: clock.bootMs() + hostingTimings.leaseMs };
      } else if (now >= stillAt)
        await this.#tell({ kind: 'gitlab-move-ends', data, epoch, isClosed: true, because: asSentence(why) });
    } catch (error) {
      log.warn(`that GitLab did not come up here is told again: ${sentenceOf(error)}`);
    }
  }

  /** The last round was taken, or has arrived, within the time of a look: true at once. */
  async #isNews(mine: Hosting): Promise<boolean> {
    const { copies } = this.#hands.options;
    const before = this.#journal(mine)?.last ?? null;
    for (const end = performance.now() + timings.lookMs; performance.now() < end; await sleep(timings.newsMs)) {
      const last = this.#journal(mine)?.last ?? null;
      if (last !== null && (before === null || copies?.arrived(mine.move!.to, last) != null)) return true;
    }
    return false;
  }

  #journal({ data, epoch, move }: Hosting): Moving | null {
    const known = this.#hands.memory.read(data).moving ?? null;
    return known?.epoch === epoch && known.to === move?.to ? known : null;
  }

  #write({ data, epoch, move }: Hosting, more: Partial<Moving>): void {
    const moving = { epoch, to: move!.to, last: null, givenUp: null, isSaid: false, ...more };
    this.#hands.memory.write(data, { moving });
  }

  #look(kept: KeptGitlab, mine: Hosting, own: FoundService | null): MoveLook {
    const { self, copies } = this.#hands.options;
    const known = this.#journal(mine);
    const isFrom = !isOnTrial(mine);
    const arrived = isFrom && known?.last ? (copies?.arrived(mine.move!.to, known.last) ?? null) : null;
    return {
      ...{ self, hosting: mine, isBegun: known !== null, isClosed: kept.lease.isClosed, hasEnded: own === null },
      isReady: isFrom && this.#whyWait(mine) === null,
      last: arrived ?? known?.last ?? null,
      hasArrived: arrived !== null,
      works: kept.life.hasWorked && own !== null,
      isSaid: known?.isSaid === true,
      vain: this.#whyVain(kept, mine, known),
      givenUp: known?.givenUp ?? null,
    };
  }

  /** Why the move has not begun; GitLab serves. */
  #whyWait({ move }: Hosting): string | null {
    const { copies, move: sources } = this.#hands.options;
    const { to } = move!;
    const target = this.#target?.to === to ? this.#target.seen : null;
    return (
      sources?.busy() ??
      copies?.lacks(to) ??
      (copies?.hasBulk(to) ? null : `${this.#name(to)} lacks the newest artifacts and packages yet`) ??
      (target === null ? `${this.#name(to)} is asked whether it is ready` : target.waits)
    );
  }

  #whyVain(kept: KeptGitlab, mine: Hosting, known: Moving | null): string | null {
    const { clock, ledger } = this.#hands.options;
    const { move, epoch, ending } = mine;
    const { to, since } = move!;
    const name = this.#name(to);
    const isTrial = isOnTrial(mine);
    const part = isTrial ? 'boot' : known === null ? 'ready' : known.last === null ? 'round' : 'arrive';
    const key = `${epoch} ${to} ${since} ${part}`;
    if (this.#since?.key !== key) this.#since = { key, at: clock.bootMs() };
    const tookMs = clock.bootMs() - this.#since.at;
    if (isTrial) {
      const { life, mayRun, lease } = kept;
      const why = whyNotUp({ life, mayRun, gateProblem: lease.problem, tookMs });
      return why === null ? null : `GitLab did not come up on ${name}: ${why}`;
    }
    const wish = wishOf(move!);
    const { vain } = this.#hands.memory.read(mine.data);
    if (known === null && vain?.wish === wish) return vain.because;
    const node = ledger()?.nodes[to];
    const why = ending
      ? 'GitLab is being uninstalled'
      : node === undefined || node.left
        ? `${name} has left`
        : !mine.copies?.standbys.some((one) => one.node === to)
          ? `${name} holds no copy of it any more`
          : this.#tookTooLong(mine, known, tookMs);
    if (why !== null && known === null) this.#hands.memory.write(mine.data, { vain: { wish, because: why } });
    return why;
  }

  #tookTooLong({ move }: Hosting, known: Moving | null, tookMs: number): string | null {
    const { to } = move!;
    const { seen = null } = this.#target?.to === to ? this.#target : {};
    if (known === null && seen?.fails != null) return `${this.#name(to)}: ${seen.fails}`;
    if (known === null && tookMs < timings.readyMs) return null;
    if (known === null) return `${this.#name(to)} was not ready within an hour: ${seen?.waits ?? 'it does not answer'}`;
    // While GitLab ends the engine has its own time for that.
    if (tookMs < timings.arriveMs) return null;
    return known.last === null
      ? `no last round could be taken: ${this.#roundProblem ?? 'GitLab did not end in time'}`
      : `the last round did not arrive at ${this.#name(to)} in time`;
  }

  async #act(kept: KeptGitlab, mine: Hosting, step: MoveStep, own: FoundService | null): Promise<void> {
    const { options, endGently, endAtOnce } = this.#hands;
    const { log, onGateClosed } = options;
    const { data, epoch, move } = mine;
    const name = this.#name(move!.to);
    const known = this.#journal(mine);
    switch (step.kind) {
      case 'begin':
        log.info(`GitLab moves to ${name}: its gate is closed here for epoch ${epoch}`);
        return this.#write(mine, {});
      case 'give-up':
        log.warn(`the move of GitLab to ${name} is given up: ${step.because}`);
        return this.#write(mine, { givenUp: step.because });
      case 'close':
        if (known?.givenUp === null && own !== null && kept.mayRun) await kept.care.settleQueue(own.id);
        kept.given.abort();
        await kept.lease.close(known?.givenUp ? 'GitLab goes back to where it was' : `GitLab moves to ${name}`);
        return onGateClosed(epoch);
      case 'end':
        kept.report(kept.moving);
        if (own !== null && known?.givenUp === null && kept.care.isQueueOnDisk)
          this.#removing = await endAtOnce(own.id);
        else if (own !== null) await endGently(own.id);
        return;
      case 'round':
        kept.report(kept.moving);
        return this.#takeRound(kept, mine);
      case 'send':
        kept.report(kept.moving);
        await kept.place(false);
        return;
      case 'moved':
        await this.#removing.done;
        log.info(`all of GitLab is on ${name}, as round ${roundText(step.base)}: it goes on there`);
        return this.#tell({ kind: 'gitlab-moved', data, epoch, base: step.base });
      case 'say':
        return this.#write(mine, { isSaid: true });
      case 'stands':
        return this.#tell({ kind: 'gitlab-move-stands', data, epoch });
      case 'ends':
        return this.#end(kept, mine, step);
      default:
        return;
    }
  }

  async #takeRound(kept: KeptGitlab, mine: Hosting): Promise<void> {
    const { copies } = this.#hands.options;
    const { epoch } = mine;
    // Also for an agent that has just begun: its copies begin with it.
    await kept.place(false);
    if (copies === undefined || this.#round?.epoch === epoch) return;
    const taken = async (): Promise<void> => this.#write(mine, { last: await copies.lastRound() });
    const made = taken().catch((error: unknown) => {
      this.#roundProblem = sentenceOf(error);
      this.#round = null;
    });
    this.#round = { epoch, made };
  }

  /** Where it was before, or goes on where it never left. */
  async #end(kept: KeptGitlab, mine: Hosting, { isClosed, because }: MoveStep & { kind: 'ends' }): Promise<void> {
    const { options } = this.#hands;
    const { data, epoch } = mine;
    if (isClosed && !isOnTrial(mine)) await markedForNext(kept, mine, options);
    await this.#tell({
      kind: 'gitlab-move-ends',
      data,
      epoch,
      isClosed,
      countsSides: true,
      because: asSentence(because),
    });
    if (!isClosed) options.log.warn(`GitLab stays where it is: ${because}`);
  }

  async #tell(change: Change): Promise<void> {
    const { state, because } = await this.#hands.options.change(change);
    if (state !== 'done') throw new AutogitError('no-leader', `the mesh does not take it (${change.kind}): ${because}`);
  }

  /** Now and then, beside the keeper's looks. */
  #ask(mine: Hosting, to: NodeId): void {
    const { clock, move } = this.#hands.options;
    const isKnown = this.#target?.to === to && clock.bootMs() - this.#target.at < timings.askMs;
    if (this.#isAsking || isKnown || move === undefined || this.#journal(mine) !== null) return;
    this.#isAsking = true;
    move
      .target(to, mine)
      .catch((error: unknown): TargetSeen => {
        return { waits: `${this.#name(to)} does not answer: ${sentenceOf(error)}`, percent: null, fails: null };
      })
      .then((seen) => {
        this.#target = { to, seen, at: clock.bootMs() };
      })
      .finally(() => {
        this.#isAsking = false;
      });
  }

  #phase({ kind }: MoveStep, mine: Hosting, waits: string | null): MoveSeen | null {
    const { move } = mine;
    const name = this.#name(move!.to);
    const words: Partial<Record<MoveStep['kind'], string>> = {
      wait: `GitLab serves: ${waits ?? `${name} is ready`}`,
      begin: 'its gate is closed',
      close: 'its gate is closed',
      end: 'GitLab ends here',
      round: 'the last round is taken',
      send: `the last round goes to ${name}`,
      moved: `all of it is on ${name}: the mesh is told`,
      'give-up': 'the move is given up',
      ends: 'the move is given up',
    };
    const wasSaid = kind === 'try' && this.#journal(mine)?.isSaid === true;
    const phase = wasSaid ? 'it worked, and does not any more; the mesh has not taken yet that it stands' : words[kind];
    const percent = kind === 'wait' ? (this.#target?.seen.percent ?? null) : null;
    return phase === undefined ? null : { phase: phase.slice(0, 200), percent };
  }

  #name(node: NodeId): string {
    return nodeName(this.#hands.options.ledger(), node);
  }
}

const wishOf = ({ to, since }: HostedMove): string => `${to} ${since}`;

/** As the next epoch will find its data: before that is the ledger's, or nobody knew whose they are. */
async function markedForNext(
  kept: KeptGitlab,
  { data, epoch }: Hosting,
  { ledger, tools }: Pick<KeeperOptions, 'ledger' | 'tools'>,
): Promise<void> {
  await kept.endCopies();
  const place = await kept.placeAsItIs();
  const owner = { mesh: kept.mesh, data, epoch };
  const now = ledger();
  // Of this epoch's number: the ledger may be a step ahead by now. What was marked before a recovery by force is marked anew.
  const next = epochFollowing(epoch, now);
  // It was ended at once, and these very data go on.
  await asAfterPowerCut(join(treeOf(place), 'live', 'data'), tools);
  await markNext({ place, owner, next, ledger: now }, tools);
  await tools.run('sync', ['-f', treeOf(place)]);
}
