import { setTimeout as pause } from 'node:timers/promises';
import type { Answer } from '../../protocol/asks.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import { lostAmong, openRuns, planLeaderLoss, rehearsalTimings } from '../../scheduler/rehearsed-loss.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { committedLedger, leaderOf } from '../../scheduler/views.ts';
import type { Log } from '../log.ts';
import type { CoreLoop } from './core-loop.ts';
import { type CoreView, viewInput } from './core-views.ts';
import type { DeferredNetwork } from './deferred-network.ts';
import { refused } from './hosting-answers.ts';

/** ms between two looks: no time that is told is finer. */
const lookMs = 5;
/** ms in which the answer to `fall-silent` is on its way before the connection ends on which it goes. */
const answerMs = 100;
const askMs = 5_000;

interface LeaderLossParts {
  network: Pick<DeferredNetwork, 'ask' | 'connected' | 'isolate'>;
  view(): CoreView;
  feed: CoreLoop['feed'];
  log: Pick<Log, 'warn'>;
}

/**
 * Both sides of a rehearsal of the leader's loss. The leader ceases to lead and is silent for 1.75 s, whatever becomes of who asked;
 * a machine that votes looks at its own core meanwhile. Nothing of it is on a disk: an agent that is started anew knows of none.
 */
export class LeaderLoss {
  readonly #parts: LeaderLossParts;
  #seen: LeaderLossSeen | null = null;
  /** When this machine fell silent last, `at`. */
  #silentAt = Number.NEGATIVE_INFINITY;

  constructor(parts: LeaderLossParts) {
    this.#parts = parts;
  }

  /** A person wants the loss of `leader` to be watched from here. */
  async watch(leader: NodeId): Promise<Answer> {
    const { network, view } = this.#parts;
    const now = view();
    const self = now.state.identity.node;
    if (this.#seen?.state === 'asked' || this.#seen?.state === 'silent')
      return refused(`the loss of ${this.#seen.leader} is being rehearsed already`);
    const plan = planLeaderLoss(viewInput(now));
    if (plan.because !== null) return refused(plan.because);
    const { ledger, term } = plan;
    if (plan.leader !== leader || leader === self)
      return refused(`${nodeName(ledger, plan.leader)} leads by now, and another machine has to watch: ask again`);
    const name = nodeName(ledger, leader);
    const were = openRuns(ledger);
    const before = this.#seen;
    this.#seen = {
      ...{ leader: name, watcher: nodeName(ledger, self), state: 'asked', because: null, next: null, term: null },
      ...{ ledMs: null, decidedMs: null, backMs: null, jobs: were.length, lost: [] },
    };
    const answer = await network
      .ask(leader, { kind: 'fall-silent', term, forMs: rehearsalTimings.silentMs }, askMs)
      .catch((error: unknown) =>
        refused(`${name} was asked and said nothing, or runs an earlier version: ${sentenceOf(error)}`),
      );
    if (answer.kind !== 'said') {
      this.#seen = before;
      return answer.kind === 'refused' ? answer : refused(`${name} answered with ${answer.kind}`);
    }
    void this.#look(leader, term, were);
    return answer;
  }

  /** This machine leads, and shall be as one that is dead for so long. */
  fallSilent(term: number, forMs: number): Answer {
    const { network, view, feed, log } = this.#parts;
    const now = view();
    const { state, at } = now;
    // Whoever watches hands on these words.
    const name = nodeName(committedLedger(state), state.identity.node);
    if (leaderOf(state)?.node !== state.identity.node || state.raft.term !== term)
      return refused(`${name} leads no more: ask again`);
    if (at - this.#silentAt < rehearsalTimings.pauseMs)
      return refused(`the loss of ${name} was rehearsed less than a minute ago: ask again when that is over`);
    const { because } = planLeaderLoss(viewInput(now));
    if (because !== null) return refused(because);
    this.#silentAt = at;
    setTimeout(() => {
      log.warn(`its loss as the leader is rehearsed: for ${forMs} ms it says nothing to any other machine`);
      // First of all it leads no more: nothing is decided or given out by two.
      feed({ kind: 'silence-asked', forMs });
      network.isolate(forMs).catch((error: unknown) => log.warn(`it could not fall silent: ${sentenceOf(error)}`));
    }, answerMs);
    return { kind: 'said', because: asSentence(`it is silent for ${forMs} ms`) };
  }

  seen(): Answer {
    return this.#seen
      ? { kind: 'rehearsal', ...this.#seen }
      : refused('nothing was rehearsed here since its agent began');
  }

  /** Until the old leader is back and another one decides, or the time is over. */
  async #look(old: NodeId, term: number, were: readonly string[]): Promise<void> {
    const { network, view } = this.#parts;
    const isLinked = (): boolean => network.connected().includes(old);
    const began = performance.now();
    let silentAt: number | null = null;
    for (;;) {
      const now = performance.now();
      const since = silentAt === null ? 0 : now - silentAt;
      const { state } = view();
      const ledger = committedLedger(state);
      const seen = this.#seen as LeaderLossSeen;
      const leader = leaderOf(state);
      if (silentAt === null && !isLinked()) {
        silentAt = now;
        this.#seen = { ...seen, state: 'silent' };
      } else if (silentAt !== null) {
        const next = leader !== null && leader.node !== old && leader.term > term ? leader : null;
        const isDecided = next !== null && (ledger?.stamp.term ?? 0) > term;
        const isBack = isLinked() && (leader !== null || now - began > rehearsalTimings.watchMs);
        this.#seen = {
          ...seen,
          next: next === null ? null : nodeName(ledger, next.node),
          term: next?.term ?? null,
          ledMs: seen.ledMs ?? (next === null ? null : since),
          decidedMs: seen.decidedMs ?? (isDecided ? since : null),
          backMs: seen.backMs ?? (isBack ? since : null),
          lost: ledger === null ? [] : lostAmong(ledger, were),
        };
      }
      const why = this.#whyOver(silentAt !== null, now - began, leader?.node === old);
      if (why !== undefined) {
        this.#seen = { ...(this.#seen as LeaderLossSeen), state: why === null ? 'over' : 'failed', because: why };
        return;
      }
      await pause(lookMs, undefined, { ref: false });
    }
  }

  /** Null: all was seen; undefined: not yet. */
  #whyOver(hasBegun: boolean, ms: number, leadsAgain: boolean): string | null | undefined {
    const { leader, ledMs, decidedMs, backMs } = this.#seen as LeaderLossSeen;
    if (ledMs !== null && decidedMs !== null && backMs !== null) return null;
    if (hasBegun && backMs !== null && leadsAgain)
      return `no other machine led until ${leader} was back, and it leads again`;
    if (ms < rehearsalTimings.watchMs) return undefined;
    if (!hasBegun) return `${leader} never fell silent`;
    if (ledMs === null) return 'no other machine led';
    return decidedMs === null ? 'nothing was decided by who led next' : `${leader} is not back`;
  }
}
