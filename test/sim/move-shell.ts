import { isOnTrial, type MoveStep, nextMoveStep, wantedBase } from '../../node/hosting/move/move-steps.ts';
import type { Change } from '../../protocol/changes.ts';
import { roundText } from '../../protocol/round-name.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { Agent } from './agent.ts';
import type { RoundShell } from './round-shell.ts';
import type { World } from './world.ts';

/** ms that the other machine gets to be in sync, the last round to arrive, GitLab to come up. */
const patience = { sync: 6000, arrive: 2500, boot: 4000 };
const sayAgainMs = 1000;

/** What of a kept GitLab a move goes by. */
export interface Movable {
  readonly isClosed: boolean;
  readonly hasEnded: boolean;
  readonly works: boolean;
}

/**
 * A move, by the product's own steps: what is written down lies on the machine's disk and outlives the agent.
 */
export class MoveShell {
  readonly #world: World;
  readonly #agent: Agent;
  readonly #rounds: RoundShell;
  readonly #ask: (change: Change, againMs: number) => void;
  #since: { epoch: number; what: keyof typeof patience; at: number } | null = null;
  #hasArrived = false;
  #isBusy = false;
  /** On trial here, and it will never come up. */
  #isHopeless = new Map<number, boolean>();

  constructor(world: World, agent: Agent, rounds: RoundShell, ask: (change: Change, againMs: number) => void) {
    this.#rounds = rounds;
    this.#world = world;
    this.#agent = agent;
    this.#ask = ask;
  }

  get #hosted() {
    return this.#agent.machine.hosted;
  }

  /** The data of the ledger's epoch are here, or are made of the round with which it begins: false while they are not. */
  hasData(hosting: Hosting): boolean {
    const { data, epoch } = hosting;
    const hosted = this.#hosted;
    const marked = hosted.volume?.data === data ? hosted.volume.epoch : null;
    const base = wantedBase(hosting, marked);
    if (base === null) {
      // A restore, or the first deployment.
      hosted.volume = { data, epoch, writes: marked === null ? 0 : hosted.volume!.writes };
      return true;
    }
    const writes = hosted.held.get(`${data} ${roundText(base)}`);
    this.#world.moves.begins(this.#agent, hosting, writes);
    if (writes === undefined || this.#isBusy) return false;
    this.#busy(200, () => {
      hosted.volume = { data, epoch, writes };
    });
    return false;
  }

  #busy(mostMs: number, then: () => void): void {
    this.#isBusy = true;
    this.#world.timeline.after(this.#world.chance.spread(10, mostMs), () => {
      this.#isBusy = false;
      this.#agent.later(then);
    });
  }

  /** A fault as any other: none begins in a world that is healed. */
  isHopeless({ epoch, ...hosting }: Hosting): boolean {
    if (!isOnTrial(hosting)) return false;
    const known = this.#isHopeless.get(epoch);
    if (known !== undefined) return known;
    const isHopeless = this.#world.chance.maybe(0.35) && !this.#world.faults.isHealed;
    this.#isHopeless.set(epoch, isHopeless);
    return isHopeless;
  }

  next(hosting: Hosting, { isClosed, hasEnded, works }: Movable): MoveStep {
    const { data, epoch, move, copies } = hosting;
    const { machine } = this.#agent;
    const { moving } = this.#hosted;
    const isBegun = moving?.data === data && moving.epoch === epoch && moving.to === move?.to;
    return nextMoveStep({
      ...{ self: machine.id, hosting, isBegun, isClosed, hasEnded, works },
      isReady: move !== undefined && copies?.set.members.includes(move.to) === true,
      last: isBegun ? moving.last : null,
      isSaid: isBegun && moving.isSaid === true,
      givenUp: isBegun ? moving.givenUp : null,
      hasArrived: this.#hasArrived,
      vain: move === undefined ? null : this.#whyVain(hosting, isBegun),
    });
  }

  #whyVain(hosting: Hosting, isBegun: boolean): string | null {
    const { epoch, ending } = hosting;
    const what = isOnTrial(hosting) ? 'boot' : isBegun ? 'arrive' : 'sync';
    const at = this.#agent.machine.bootMs();
    if (this.#since?.epoch !== epoch || this.#since.what !== what) this.#since = { epoch, what, at };
    if (ending && what !== 'boot') return 'it is being uninstalled';
    return at - this.#since.at > patience[what] ? `it took too long: ${what}` : null;
  }

  /** True when this turn was the move's own. Closing and ending are the caller's, who keeps gate and container. */
  act(hosting: Hosting, step: MoveStep): boolean {
    const { data, epoch, move } = hosting;
    const hosted = this.#hosted;
    if (step.kind === 'begin') {
      hosted.moving = { data, epoch, to: move!.to, last: null, givenUp: null };
      this.#hasArrived = false;
      this.#world.rare.saw('planned move begun');
    }
    if (step.kind === 'give-up') {
      this.#world.rare.saw('planned move given up');
      hosted.moving = { data, epoch, to: move!.to, last: null, givenUp: step.because };
    }
    if (step.kind === 'round' && !this.#isBusy)
      this.#busy(100, () => {
        if (hosted.moving?.epoch === epoch && hosted.volume?.data === data)
          hosted.moving = { ...hosted.moving, last: this.#rounds.round(data, epoch) };
      });
    const last = hosted.moving?.last;
    if (step.kind === 'send' && !this.#isBusy && move && last) {
      this.#busy(300, () => {});
      this.#rounds.sends(move.to, data, last, () => {
        this.#hasArrived = true;
      });
    }
    if (step.kind === 'say') hosted.moving = { data, epoch, to: move!.to, last: null, givenUp: null, isSaid: true };
    if (step.kind === 'moved') this.#ask({ kind: 'gitlab-moved', data, epoch, base: step.base }, sayAgainMs);
    if (step.kind === 'stands') this.#ask({ kind: 'gitlab-move-stands', data, epoch }, sayAgainMs);
    if (step.kind === 'ends') {
      const { isClosed, because } = step;
      this.#ask({ kind: 'gitlab-move-ends', data, epoch, isClosed, because }, sayAgainMs);
    }
    return !['none', 'wait', 'try', 'say', 'stands'].includes(step.kind);
  }
}
