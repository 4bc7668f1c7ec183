import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Attention } from '../../protocol/status.ts';
import { handsOverTo } from '../../scheduler/hosting/hand-over-rules.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { nodeName, type ViewInput } from '../../scheduler/snapshot-view.ts';
import type { Log } from '../log.ts';
import type { Going } from '../machine/sleep-watch.ts';

/** What its owner said: before which of them GitLab goes elsewhere first. */
export type HandsOver = 'never' | 'shutdown' | 'always';

const realTimings = {
  /** GitLab's end takes some of it, and the last round after that: begun in less it would be cut off in its midst. */
  leastMs: 20_000,
  /** For what the mesh has decided to be known here. */
  heardMs: 2_000,
  lookMs: 20,
  /** To be told that a move is begun no more. */
  cancelMs: 1_000,
} as const;

interface HandOverParts {
  self: NodeId;
  handsOver: HandsOver;
  ledger(): Ledger | null;
  view(): ViewInput;
  answer(ask: Ask & { kind: 'cancel-move' }): Promise<Answer>;
  log: Pick<Log, 'info' | 'warn'>;
}

/** How long, and by what it is asked for. */
interface Leave {
  going: Going;
  patienceMs: number;
  /** The machine stays, or its agent ends. */
  signal: AbortSignal;
  /** As a person asks for it: looks at both machines, then asks the mesh, unless it is too late by then. */
  move(node: string, signal: AbortSignal): Promise<ChangeOutcome>;
}

/**
 * A machine that runs the mesh's GitLab and is about to sleep or to shut down: the planned move, if its owner wants that and there is time.
 * It is over when all of GitLab is on the other machine and the mesh knows; that brings it up by itself. What is cut off in its midst
 * is a move whose host went away, as any other.
 */
export class GitlabHandOver {
  readonly #parts: HandOverParts;
  readonly #timings: Record<keyof typeof realTimings, number>;
  /** What logind leaves for it; null: not known, or there is none. */
  #patienceMs: number | null = null;

  constructor(parts: HandOverParts, timings: Record<keyof typeof realTimings, number> = realTimings) {
    this.#parts = parts;
    this.#timings = timings;
  }

  /** What there will be for it. */
  mayTake(patienceMs: number): void {
    this.#patienceMs = patienceMs;
  }

  /** An owner who wants it hears beforehand that there is no time for it. */
  attention(): Attention[] {
    const { handsOver } = this.#parts;
    if (handsOver === 'never' || !this.#hosts() || (this.#patienceMs ?? this.#timings.leastMs) >= this.#timings.leastMs)
      return [];
    return [
      {
        code: 'gitlab-hand-over',
        severity: 'warn',
        sentence: `GitLab will not be handed over before this machine goes: ${tooShort(this.#patienceMs ?? 0)}`,
        fix,
      },
    ];
  }

  /** Never throws; resolves at the latest when the time is over, or the machine stays. */
  async before(leave: Leave): Promise<void> {
    const { handsOver, log } = this.#parts;
    const { going, patienceMs, signal } = leave;
    if (!this.#hosts() || handsOver === 'never' || (handsOver === 'shutdown' && going !== 'shutdown')) return;
    if (patienceMs < this.#timings.leastMs)
      return log.warn(`GitLab is not handed over before ${going}: ${tooShort(patienceMs)}. ${fix}`);
    const over = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
    // A person asked for that one: it is waited for, and what is not done by then is done when this machine is back.
    const known = hostingOf(this.#parts.ledger())?.move;
    if (known !== undefined && known.to !== this.#parts.self) return void (await this.#gone(known.to, over));
    try {
      const { to, unfit } = handsOverTo(this.#parts.view());
      if (to.length === 0) log.warn(`GitLab is not handed over before ${going}: ${unfit}`);
      for (const node of to) if (over.aborted || (await this.#moved(node, leave, over))) break;
    } catch (error) {
      log.warn(`GitLab is not handed over before ${going}: ${sentenceOf(error)}`);
    }
    if (this.#hosts()) await this.#giveUp(going);
  }

  #hosts = (): boolean => hostingOf(this.#parts.ledger())?.host === this.#parts.self;

  async #moved(node: NodeId, { going, move }: Leave, over: AbortSignal): Promise<boolean> {
    const { log, ledger } = this.#parts;
    const name = nodeName(ledger(), node);
    const moved = await untilOver(move(name, over), over);
    if (moved === null) return false;
    if (moved.state !== 'done') {
      log.warn(`GitLab is not handed over to ${name} before ${going}: ${moved.because}`);
      return false;
    }
    log.info(`before ${going} GitLab moves to ${name}`);
    return this.#gone(node, over);
  }

  /** It is elsewhere; false when it is over before, or the move came to nothing. */
  async #gone(node: NodeId, over: AbortSignal): Promise<boolean> {
    const { log, ledger } = this.#parts;
    const wished = (): boolean => hostingOf(ledger())?.move !== undefined;
    const heardBy = performance.now() + this.#timings.heardMs;
    let wasWished = wished();
    while (!over.aborted && this.#hosts() && (wished() || (!wasWished && performance.now() < heardBy))) {
      wasWished ||= wished();
      await pause(this.#timings.lookMs);
    }
    if (!this.#hosts()) log.info(`GitLab is on ${nodeName(ledger(), node)}, which brings it up: this machine may go`);
    return !this.#hosts();
  }

  /** Where its gate is not shut for it yet, it is begun no more: GitLab is here again when the machine is. */
  async #giveUp(going: Going): Promise<void> {
    const { ledger, answer, log } = this.#parts;
    const hosting = hostingOf(ledger());
    if (hosting?.move === undefined) return;
    const { data, move } = hosting;
    const asked = answer({ kind: 'cancel-move', data, to: move.to }).then(
      (said) => ('because' in said ? said.because : 'it stays here'),
      (error: unknown) => sentenceOf(error),
    );
    const said = await Promise.race([asked, pause(this.#timings.cancelMs, 'the mesh goes on with it')]);
    log.warn(`GitLab was not handed over before ${going}: ${said}`);
  }
}

const fix =
  'InhibitDelayMaxSec=90 below [Login] in /etc/systemd/logind.conf.d/autogit-node.conf, then: systemctl restart systemd-logind';

const tooShort = (ms: number): string =>
  `systemd-logind leaves ${Math.max(0, Math.floor(ms / 1000))} s for it, and GitLab takes longer to end`;

/** Null when it is over before. */
async function untilOver<T>(work: Promise<T>, over: AbortSignal): Promise<T | null> {
  work.catch(() => undefined);
  if (over.aborted) return null;
  return Promise.race([work, once(over, 'abort').then(() => null)]);
}
