import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Answer } from '../../protocol/asks.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Attention } from '../../protocol/status.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { gitlabView } from '../../scheduler/snapshot-gitlab.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { forwardFolder } from '../hosting/forward/forward-files.ts';
import type { ForwardKeeper } from '../hosting/forward/forward-keeper.ts';
import { doorFor, renewMemberSecret } from '../hosting/gate/member-door.ts';
import type { Here, Membership } from './hosting-room.ts';

/**
 * That the mesh's own GitLab is reached by this machine too, whichever runs it. Loaded where the mesh hosts one; every other member has
 * none of it in memory and no timer.
 */
export class OwnAddress {
  readonly #here: Here;
  readonly #membership: Membership;
  #keeper: Promise<ForwardKeeper> | null = null;
  #loaded: ForwardKeeper | null = null;
  #isRunning = false;
  /** Who was a member when the ledger was seen last. */
  #members: readonly string[] | null = null;

  constructor(here: Here, membership: Membership) {
    this.#here = here;
    this.#membership = membership;
  }

  start(): void {
    this.#isRunning = true;
    this.ledgerChanged();
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
    const keeper = await this.#keeper?.catch(() => null);
    await keeper?.stop();
  }

  /** The mesh has removed this machine. */
  async removed(): Promise<void> {
    this.#isRunning = false;
    const keeper = await this.#keeper?.catch(() => null);
    await keeper?.removed();
  }

  ledgerChanged(): void {
    this.#forgetGone();
    this.#loaded?.ledgerChanged();
    const hosting = hostingOf(this.#membership.ledger());
    // What an agent of before began ends by the keeper too.
    const isLeft = existsSync(forwardFolder(this.#here.home));
    const isWanted = (hosting !== null && this.#here.forwards === true) || isLeft;
    if (!isWanted || !this.#isRunning || this.#keeper !== null) return;
    this.#keeper = this.#load();
    this.#keeper.catch(() => {
      this.#keeper = null;
    });
  }

  /** Of the gate here: another machine of the mesh hands on who came to it. */
  openDoor(from: NodeId): Answer {
    const hosting = hostingOf(this.#membership.ledger());
    if (hosting?.host !== this.#here.nodeId)
      return { kind: 'refused', because: 'this machine does not run the GitLab of the mesh' };
    const door = doorFor(this.#here.home, from);
    return door === null
      ? { kind: 'refused', because: 'its gate does not stand yet' }
      : { kind: 'forward-door', ...door };
  }

  attention(): Attention[] {
    return this.#loaded?.attention() ?? [];
  }

  /** The keys of before are for those who were members then. */
  #forgetGone(): void {
    const ledger = this.#membership.ledger();
    const members = ledger === null ? null : Object.keys(ledger.nodes);
    const isAnyGone = members !== null && this.#members?.some((node) => !members.includes(node)) === true;
    if (isAnyGone) renewMemberSecret(this.#here.home);
    this.#members = members ?? this.#members;
  }

  async #load(): Promise<ForwardKeeper> {
    const { ForwardKeeper } = await import('../hosting/forward/forward-keeper.ts');
    const { home, nodeId, version, clock, log, network, forwards = false } = this.#here;
    const { ledger } = this.#membership;
    const keeper = new ForwardKeeper({
      ...{ home, self: nodeId, version, clock, log },
      ledger: () => (forwards ? ledger() : null),
      ask: (node, ask, timeoutMs) => network.ask(node, ask, timeoutMs),
      addressOf: (node) => network.addressOf(node),
      own: () => Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
      nameOf: (node) => nodeName(ledger(), node),
      because: () => this.#because(),
    });
    if (this.#isRunning) keeper.start();
    this.#loaded = keeper;
    return keeper;
  }

  #because(): string {
    const { ledger, view } = this.#membership;
    const known = ledger();
    const name = nodeName(known, known?.gitlab.host ?? '');
    const { state, hosted } = gitlabView(view(), known);
    if (state !== 'healthy' && hosted !== undefined) return `GitLab on ${name}: ${hosted.because}`;
    return `GitLab runs on ${name}, which is not reached from ${nodeName(known, this.#here.nodeId)} at this moment`;
  }
}
